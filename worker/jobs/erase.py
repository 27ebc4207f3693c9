"""Erase the objects of tombstones, in bulk, and settle them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from model.db.clock import now_ms
from model.db.connection import connection, execute, transaction
from model.events import record as events
from model.gc.history import record_erasing
from model.gc.tombstones import (
    Tombstone,
    claim_tombstones,
    fence_tombstones,
    find_referred,
    postpone_tombstones,
    settle_tombstones,
)
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.pace import Budget
from worker.quay.quay_lock import QuayLocks
from worker.storage.base import Erased, Stores

log = logs.logger("dredge.erase")

# Between two of these the database is asked whether the locks still hold.
CHUNK = 1_000


@dataclass
class Outcome:
    """What became of the claimed tombstones: a pile for each fate."""

    erased: list[Tombstone] = field(default_factory=list)
    missing: list[Tombstone] = field(default_factory=list)
    dropped: list[Tombstone] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    unknown: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cleared:
    """What one turn of the eraser did; `bytes` only of objects that were there; `stopped` by what."""

    objects: int = 0
    bytes: int = 0
    missing: int = 0
    dropped: int = 0
    failed: int = 0
    has_more: bool = False
    stopped: str = ""


def erase(context: JobContext, *, budget_s: float) -> Cleared:
    """Erase due tombstones until none is left or the budget is used up; then `has_more`.

    An object that cannot be erased is postponed with a backoff while the others go.  Several at once
    take different tombstones; a crash in between leaves them to be erased again.
    """
    budget = Budget(budget_s)
    total = Cleared()
    limit = context.settings.erase_batch
    while True:
        if stopped := find_stop(context):
            log.warning("erasing.stopped", reason=stopped)
            return replace(total, has_more=False, stopped=stopped)
        claimed, outcome = _erase_batch(context, limit)
        total = _add(total, outcome, has_more=claimed == limit)
        if not total.has_more or not budget:
            return total


def _erase_batch(context: JobContext, limit: int) -> tuple[int, Outcome]:
    started = time.monotonic()
    with connection():
        fenced = _fence(context.stores, limit)
        with transaction():
            started_ms = now_ms()
            tombstones = claim_tombstones(limit=limit, among=fenced)
            outcome = Outcome()
            if tombstones:
                _carry_out(context, tombstones, outcome)
                _settle(context.stores, outcome, started_ms)
    _slow_down(context.settings.erase_rate, len(tombstones), time.monotonic() - started)
    return len(tombstones), outcome


def _fence(stores: Stores, limit: int) -> list[int] | None:
    """Where a delete that was sent may land after its sender died, say so before it is sent.

    Committed before the deletes begin: after a crash a push that wants one of these digests
    is asked for patience until the last of them has landed.  None where no store needs it.
    """
    late_delete_ms = max((store.late_delete_ms for store in stores.values()), default=0)
    if not late_delete_ms:
        return None
    with transaction():
        ids = [tombstone.id for tombstone in claim_tombstones(limit=limit)]
        if ids:
            fence_tombstones(ids, late_delete_ms=late_delete_ms)
    return ids


def _carry_out(context: JobContext, tombstones: list[Tombstone], outcome: Outcome) -> None:
    # Safe: the tombstones are locked and the digests are looked up after that: a push makes its
    # row only after it has taken the tombstone away, so it either shows here or waits for us.
    doomed = _drop_referred(tombstones, outcome)
    with QuayLocks(context.settings.quay_redis_url) as locks:
        if locks.needed:
            doomed = _lock_with_quay(locks, doomed, outcome)
        for location, group in _by_location(doomed).items():
            for start in range(0, len(group), CHUNK):
                _still_locked()
                _erase_chunk(context.stores, location, group[start : start + CHUNK], outcome)


def _lock_with_quay(locks: QuayLocks, doomed: list[Tombstone], outcome: Outcome) -> list[Tombstone]:
    """Take Quay's own lock for each digest and look once more: its pushes know no tombstones."""
    held, busy = locks.take(doomed)
    outcome.failed.update({tombstone.id: "Quay holds the digest's lock" for tombstone in busy})
    return _drop_referred(held, outcome)


def _drop_referred(tombstones: list[Tombstone], outcome: Outcome) -> list[Tombstone]:
    """Put aside those whose object a blob row speaks of again; the others."""
    referred = find_referred(tombstones)
    outcome.dropped += [tombstone for tombstone in tombstones if tombstone.id in referred]
    return [tombstone for tombstone in tombstones if tombstone.id not in referred]


def _still_locked() -> None:
    """Raise if the connection, and so the locks, were lost while storage was slow."""
    execute("SELECT 1")


def _erase_chunk(stores: Stores, location: str, tombstones: list[Tombstone], outcome: Outcome) -> None:
    if location not in stores:
        outcome.failed.update(
            {tombstone.id: f"location {location} is not configured" for tombstone in tombstones}
        )
        return
    results = stores[location].erase([tombstone.path for tombstone in tombstones])
    for tombstone, result in zip(tombstones, results, strict=True):
        _sort_out(tombstone, result, outcome)


def _sort_out(tombstone: Tombstone, result: Erased, outcome: Outcome) -> None:
    if result.unknown:
        outcome.unknown[tombstone.id] = result.error or "the store did not answer"
    elif result.error is not None:
        outcome.failed[tombstone.id] = result.error
    elif result.existed is False:
        outcome.missing.append(tombstone)
    else:
        outcome.erased.append(tombstone)


def _settle(stores: Stores, outcome: Outcome, started_ms: int) -> None:
    done = [*outcome.erased, *outcome.missing, *outcome.dropped]
    if done:
        settle_tombstones([tombstone.id for tombstone in done])
    if outcome.failed:
        postpone_tombstones(outcome.failed)
    if outcome.unknown:
        late_delete_ms = max(store.late_delete_ms for store in stores.values())
        postpone_tombstones(outcome.unknown, late_delete_ms=late_delete_ms)
    for error in {*outcome.failed.values(), *outcome.unknown.values()}:
        log.warning("object.not_erased", error=error)
    if outcome.erased or outcome.missing:
        _record(outcome.erased, outcome.missing, started_ms)


def _record(erased: list[Tombstone], missing: list[Tombstone], started_ms: int) -> None:
    """History and the event: also of objects that were not there, without claiming bytes for them.

    One of those may have been erased by somebody who died before the commit: nobody else told of it.
    """
    if erased:
        size = sum(tombstone.size for tombstone in erased)
        record_erasing(started_ms=started_ms, objects=len(erased), bytes=size)
    items = [
        {
            "subject": tombstone.digest or tombstone.path,
            "digest": tombstone.digest,
            "location": tombstone.location,
            "bytes": bytes,
        }
        for tombstone, bytes in (*((s, s.size) for s in erased), *((s, 0) for s in missing))
    ]
    events.record(events.BLOB_ERASED, subject="objects", data={"items": items}, now_ms=started_ms)


def _by_location(tombstones: Iterable[Tombstone]) -> dict[str, list[Tombstone]]:
    groups: defaultdict[str, list[Tombstone]] = defaultdict(list)
    for tombstone in tombstones:
        groups[tombstone.location].append(tombstone)
    return groups


def _slow_down(rate: int, erased: int, seconds: float) -> None:
    """Keep to the configured objects per second."""
    if rate and erased:
        time.sleep(max(0.0, erased / rate - seconds))


def _add(total: Cleared, outcome: Outcome, *, has_more: bool) -> Cleared:
    return Cleared(
        objects=total.objects + len(outcome.erased),
        bytes=total.bytes + sum(tombstone.size for tombstone in outcome.erased),
        missing=total.missing + len(outcome.missing),
        dropped=total.dropped + len(outcome.dropped),
        failed=total.failed + len(outcome.failed) + len(outcome.unknown),
        has_more=has_more,
    )
