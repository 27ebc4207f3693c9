"""Erase the objects of tombstones, in bulk, and settle them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from model.db.clock import now_ms
from model.db.connection import connection, execute, transaction
from model.events import record as events
from model.gc.history import record_erasing
from model.gc.tombstones import (
    Stone,
    claim_tombstones,
    fence_tombstones,
    find_referred,
    postpone_tombstones,
    settle_tombstones,
)
from worker import logs
from worker.jobs.context import Toolbox
from worker.jobs.pace import Budget
from worker.quay.quay_lock import QuayLocks
from worker.storage.base import Erased, Stores

log = logs.logger("dredge.erase")

# Between two of these the database is asked whether the locks still hold.
CHUNK = 1_000


@dataclass
class Outcome:
    """What became of the claimed tombstones: a pile for each fate."""

    erased: list[Stone] = field(default_factory=list)
    missing: list[Stone] = field(default_factory=list)
    dropped: list[Stone] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    unknown: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cleared:
    """What one turn of the eraser did; `bytes` only of objects that were there."""

    objects: int = 0
    bytes: int = 0
    missing: int = 0
    dropped: int = 0
    failed: int = 0
    has_more: bool = False


def erase(toolbox: Toolbox, *, budget_s: float) -> Cleared:
    """Erase due tombstones until none is left or the budget is used up; then `has_more`.

    An object that cannot be erased is postponed with a backoff while the others go.  Several at once
    take different tombstones; a crash in between leaves them to be erased again.
    """
    budget = Budget(budget_s)
    total = Cleared()
    limit = toolbox.settings.erase_batch
    while True:
        claimed, outcome = _erase_batch(toolbox, limit)
        total = _add(total, outcome, has_more=claimed == limit)
        if not total.has_more or not budget:
            return total


def _erase_batch(toolbox: Toolbox, limit: int) -> tuple[int, Outcome]:
    started = time.monotonic()
    with connection():
        fenced = _fence(toolbox.stores, limit)
        with transaction():
            started_ms = now_ms()
            stones = claim_tombstones(limit=limit, among=fenced)
            outcome = Outcome()
            if stones:
                _carry_out(toolbox, stones, outcome)
                _settle(toolbox.stores, outcome, started_ms)
    _slow_down(toolbox.settings.erase_rate, len(stones), time.monotonic() - started)
    return len(stones), outcome


def _fence(stores: Stores, limit: int) -> list[int] | None:
    """Where a delete that was sent may land after its sender died, say so before it is sent.

    Committed before the deletes begin: after a crash a push that wants one of these digests
    is asked for patience until the last of them has landed.  None where no store needs it.
    """
    lingers_ms = max((store.lingers_ms for store in stores.values()), default=0)
    if not lingers_ms:
        return None
    with transaction():
        ids = [stone.id for stone in claim_tombstones(limit=limit)]
        if ids:
            fence_tombstones(ids, lingers_ms=lingers_ms)
    return ids


def _carry_out(toolbox: Toolbox, stones: list[Stone], outcome: Outcome) -> None:
    # Safe: the tombstones are locked and the digests are looked up after that: a push makes its
    # row only after it has taken the tombstone away, so it either shows here or waits for us.
    doomed = _drop_referred(stones, outcome)
    with QuayLocks(toolbox.settings.quay_redis_url) as locks:
        if locks.needed:
            doomed = _lock_with_quay(locks, doomed, outcome)
        for location, group in _by_location(doomed).items():
            for start in range(0, len(group), CHUNK):
                _still_locked()
                _erase_chunk(toolbox.stores, location, group[start : start + CHUNK], outcome)


def _lock_with_quay(locks: QuayLocks, doomed: list[Stone], outcome: Outcome) -> list[Stone]:
    """Take Quay's own lock for each digest and look once more: its pushes know no tombstones."""
    held, busy = locks.take(doomed)
    outcome.failed.update({stone.id: "Quay holds the digest's lock" for stone in busy})
    return _drop_referred(held, outcome)


def _drop_referred(stones: list[Stone], outcome: Outcome) -> list[Stone]:
    """Put aside those whose object a blob row speaks of again; the others."""
    referred = find_referred(stones)
    outcome.dropped += [stone for stone in stones if stone.id in referred]
    return [stone for stone in stones if stone.id not in referred]


def _still_locked() -> None:
    """Raise if the connection, and so the locks, were lost while storage was slow."""
    execute("SELECT 1")


def _erase_chunk(stores: Stores, location: str, stones: list[Stone], outcome: Outcome) -> None:
    if location not in stores:
        outcome.failed.update({stone.id: f"location {location} is not configured" for stone in stones})
        return
    results = stores[location].erase([stone.path for stone in stones])
    for stone, result in zip(stones, results, strict=True):
        _sort_out(stone, result, outcome)


def _sort_out(stone: Stone, result: Erased, outcome: Outcome) -> None:
    if result.unknown:
        outcome.unknown[stone.id] = result.error or "the store did not answer"
    elif result.error is not None:
        outcome.failed[stone.id] = result.error
    elif result.existed is False:
        outcome.missing.append(stone)
    else:
        outcome.erased.append(stone)


def _settle(stores: Stores, outcome: Outcome, started_ms: int) -> None:
    done = [*outcome.erased, *outcome.missing, *outcome.dropped]
    if done:
        settle_tombstones([stone.id for stone in done])
    if outcome.failed:
        postpone_tombstones(outcome.failed)
    if outcome.unknown:
        lingers_ms = max(store.lingers_ms for store in stores.values())
        postpone_tombstones(outcome.unknown, lingers_ms=lingers_ms)
    for error in {*outcome.failed.values(), *outcome.unknown.values()}:
        log.warning("object.not_erased", error=error)
    if outcome.erased or outcome.missing:
        _record(outcome.erased, outcome.missing, started_ms)


def _record(erased: list[Stone], missing: list[Stone], started_ms: int) -> None:
    """History and the event: also of objects that were not there, without claiming bytes for them.

    One of those may have been erased by somebody who died before the commit: nobody else told of it.
    """
    if erased:
        size = sum(stone.size for stone in erased)
        record_erasing(started_ms=started_ms, objects=len(erased), bytes=size)
    items = [
        {
            "subject": stone.digest or stone.path,
            "digest": stone.digest,
            "location": stone.location,
            "bytes": bytes,
        }
        for stone, bytes in (*((s, s.size) for s in erased), *((s, 0) for s in missing))
    ]
    events.record(events.BLOB_ERASED, subject="objects", data={"items": items}, now_ms=started_ms)


def _by_location(stones: Iterable[Stone]) -> dict[str, list[Stone]]:
    groups: defaultdict[str, list[Stone]] = defaultdict(list)
    for stone in stones:
        groups[stone.location].append(stone)
    return groups


def _slow_down(rate: int, erased: int, seconds: float) -> None:
    """Keep to the configured objects per second."""
    if rate and erased:
        time.sleep(max(0.0, erased / rate - seconds))


def _add(total: Cleared, outcome: Outcome, *, has_more: bool) -> Cleared:
    return Cleared(
        objects=total.objects + len(outcome.erased),
        bytes=total.bytes + sum(stone.size for stone in outcome.erased),
        missing=total.missing + len(outcome.missing),
        dropped=total.dropped + len(outcome.dropped),
        failed=total.failed + len(outcome.failed) + len(outcome.unknown),
        has_more=has_more,
    )
