"""Publish the outbox to the exchange, at least once, and in order per repository."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from model.db.clock import now_ms
from model.db.connection import transaction
from model.errors import RegistryError
from model.events import outbox
from model.gc import poison
from worker import logs, metrics
from worker.events.message import CloudEvent, cloud_events, removal

log = logs.logger("dredge.relay")

STAGE = "relay"
BATCH_ROWS = 1000
BATCH_BYTES = 1_000_000


class Exchange(Protocol):
    """What the relay calls of `worker.events.publisher.Publisher`; each may raise `BrokerUnavailable`."""

    def publish(self, events: Iterable[CloudEvent], removals: Iterable[CloudEvent]) -> int: ...
    def broker_was_flushed(self) -> bool: ...
    def restore_bindings(self) -> None: ...
    def mark_epoch(self) -> None: ...


@dataclass(frozen=True)
class Relayed:
    """The result of one step; `has_more` is True if it took its maximum, so there may be more rows.

    `first_id` is the first unpublished row that it found, or 0.
    """

    rows: int = 0
    events: int = 0
    has_more: bool = False
    first_id: int = field(default=0, compare=False)


def relay(exchange: Exchange, *, from_id: int = 0) -> Relayed:
    """Publish the oldest unpublished rows, `from_id` and later ones, and mark them.

    Does nothing while another relay runs.

    Sets aside a row that cannot be published until its next try, and publishes the others.  The attempt is
    counted before the work; after a batch whose process died, an eighth as many rows are taken, down to one,
    which is set aside.  A crash between publishing and marking repeats events, with the same IDs, and loses
    none.  Raises `BrokerUnavailable` with no row marked.
    """
    _take_back()
    batch = _begin(from_id)
    if batch is None:
        return Relayed()
    try:
        relayed = _relay(exchange, batch)
    except RegistryError:
        _interrupt(batch)
        raise
    if relayed is None:
        _interrupt(batch)
        return Relayed()
    metrics.published(relayed.events)
    return relayed


class Batch(NamedTuple):
    """At most `limit` rows, `first` or later, of which `last` is the last.

    A single one is counted by its own row.
    """

    limit: int
    first: int
    last: int


# The batches of this process that an outage or another relay ended, and whose attempts still count.
_interrupted: list[Batch] = []


def _interrupt(batch: Batch) -> None:
    """Take back the attempt at a batch now, or before the next one if the database is unavailable."""
    _interrupted.append(batch)
    with suppress(RegistryError):
        _take_back()


def _take_back() -> None:
    """Take back attempts that no row ended.  Raises if the database is unavailable."""
    while _interrupted:
        _end(_interrupted[-1], last=0)
        _interrupted.pop()


def _begin(from_id: int) -> Batch | None:
    """Count the attempt at the next batch.  Returns None if there is none, or another relay is at work."""
    with transaction():
        if not outbox.try_relay_lock():
            return None
        limit = max(1, BATCH_ROWS // poison.DIVIDE_BY ** poison.count_batch_failures(STAGE))
        last = outbox.find_last(limit=limit, from_id=from_id)
        if last is None:
            return None
        if limit > 1:
            poison.begin_batch(STAGE, last=last)
        else:
            poison.attempt(STAGE, str(last))
    return Batch(limit, from_id, last)


def _end(batch: Batch, *, last: int) -> None:
    if batch.limit > 1:
        poison.end_batch(STAGE, last=last)
    elif last:
        poison.leave_batch(STAGE, last=last)
    else:
        poison.clear(STAGE, str(batch.last))


def _relay(exchange: Exchange, batch: Batch) -> Relayed | None:
    """Publish and mark a batch.  Returns None if another relay is at work."""
    with transaction():
        if not outbox.try_relay_lock():
            return None
        if batch.limit > 1:
            rows = outbox.find_unpublished(limit=batch.limit, max_bytes=BATCH_BYTES, from_id=batch.first)
        else:
            rows = outbox.find_unpublished_row(batch.last)
        # The only network call inside a transaction.  The transaction holds the relay's lock but no row, the
        # broker's timeouts bound it, and losing the transaction repeats events but never drops one.
        sent = _publish(exchange, [ready for row in rows if (ready := _ready(row))])
        outbox.mark_published(list(sent), now_ms=now_ms())
        _end(batch, last=rows[-1].id if rows else batch.last)
    is_full = len(rows) == batch.limit or sum(len(row.data) for row in rows) >= BATCH_BYTES
    first_id = rows[0].id if rows else 0
    return Relayed(len(rows), sum(sent.values()), has_more=is_full, first_id=first_id)


def republish_after_flush(exchange: Exchange) -> int:
    """After a flush of the broker, bind the queues again and mark the outbox as unpublished.

    Returns the number of rows.  Writes the trace in the broker last, so that a crash before repeats all
    steps.  Idempotent.
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


class Ready(NamedTuple):
    """A row of the outbox and its messages."""

    id: int
    events: list[CloudEvent]
    removals: list[CloudEvent]


def _ready(row: outbox.OutboxRow) -> Ready | None:
    """Make the row's messages.  Sets aside a row that cannot be read, because it would block all others."""
    try:
        found = removal(row)
        return Ready(row.id, list(cloud_events(row)), [] if found is None else [found])
    except Exception as error:  # noqa: BLE001  the row would cause any error again
        _set_aside(row.id, error)
        return None


def _publish(exchange: Exchange, rows: Sequence[Ready]) -> dict[int, int]:
    """Publish rows together, or each alone if that fails.  Maps the ID of each sent row to its events."""
    try:
        exchange.publish(
            [event for row in rows for event in row.events],
            [removed for row in rows for removed in row.removals],
        )
    except RegistryError:
        raise
    except Exception as error:  # noqa: BLE001  one message that cannot be encoded stops no other
        if len(rows) > 1:
            sent: dict[int, int] = {}
            for row in rows:
                sent |= _publish(exchange, [row])
            return sent
        _set_aside(rows[0].id, error)
        return {}
    return {row.id: len(row.events) for row in rows}


def _set_aside(row_id: int, error: Exception) -> None:
    tries = poison.attempt(STAGE, str(row_id))
    poison.record_error(STAGE, str(row_id), f"{type(error).__name__}: {error}")
    log.error("event.set_aside", row=row_id, tries=tries, error=str(error))
