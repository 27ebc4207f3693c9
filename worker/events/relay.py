"""From the outbox to the exchange: at least once, and in order per repository."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.db.clock import now_ms
from model.db.connection import transaction
from model.events import outbox
from worker import logs, metrics
from worker.events.message import CloudEvent, cloud_events, removal

log = logs.logger("dredge.relay")

BATCH_ROWS = 1000
BATCH_BYTES = 1_000_000


class Exchange(Protocol):
    """What the relay needs of `worker.events.publisher.Publisher`; each may raise `BrokerUnavailable`."""

    def publish(self, events: Iterable[CloudEvent], removals: Iterable[CloudEvent]) -> int: ...
    def broker_was_flushed(self) -> bool: ...
    def restore_bindings(self) -> None: ...
    def mark_epoch(self) -> None: ...


@dataclass(frozen=True)
class Relayed:
    """What one step did; `has_more` when it took as much as it may at once, and there may be more."""

    rows: int = 0
    events: int = 0
    has_more: bool = False


def relay(exchange: Exchange) -> Relayed:
    """Publish the oldest unpublished rows and mark them; nothing while another relay is at work.

    Running it again publishes only what was not marked: a crash in between repeats events, with
    the same ids, and loses none.  Raises `BrokerUnavailable` with nothing marked.
    """
    with transaction():
        if not outbox.try_relay_lock():
            return Relayed()
        rows = outbox.find_unpublished(limit=BATCH_ROWS, max_bytes=BATCH_BYTES)
        if not rows:
            return Relayed()
        # A network call inside a transaction, the only one: it holds the relay's lock and no row, the
        # broker's timeouts bound it, and losing the transaction repeats events but never drops one.
        events = exchange.publish(
            (event for row in rows for event in _events(row)),
            (removed for row in rows for removed in _removal(row)),
        )
        outbox.mark_published([row.id for row in rows], now_ms=now_ms())
    metrics.published(events)
    is_full = len(rows) == BATCH_ROWS or sum(len(row.data) for row in rows) >= BATCH_BYTES
    return Relayed(len(rows), events, has_more=is_full)


def republish_after_flush(exchange: Exchange) -> int:
    """After a flush of the broker, bind the queues again and have the outbox published again; rows.

    The trace in the broker is left last: a crash before repeats all of it.
    """
    if not exchange.broker_was_flushed():
        return 0
    with transaction():
        if not outbox.try_relay_lock():
            return 0
        exchange.restore_bindings()
        rows = outbox.unpublish_all()
    exchange.mark_epoch()
    log.info("relay.broker_was_empty", rows=rows)
    return rows


def _removal(row: outbox.OutboxRow) -> Sequence[CloudEvent]:
    try:
        found = removal(row)
    except ValueError:
        return ()
    return () if found is None else (found,)


def _events(row: outbox.OutboxRow) -> Sequence[CloudEvent]:
    """The row's events; one that cannot be read is logged and counts as published, for it would block all."""
    try:
        return list(cloud_events(row))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.error("relay.bad_row", row=row.id, error=str(error))
        return ()
