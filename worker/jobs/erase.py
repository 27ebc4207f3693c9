"""Erase the objects of tombstones, or set them aside, one fenced request after the other."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from model.db.connection import connection, transaction
from model.gc.tombstones import (
    Tombstone,
    claim_tombstones,
    find_referred,
    find_tombstone_locations,
    settle_tombstones,
)
from model.storage_paths import trash_path
from worker import logs, metrics
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.erase_outcome import Cleared, Outcome, Place, fail_unconfigured, settle
from worker.jobs.pace import Budget
from worker.jobs.quarantine import choose_quarantine_s, tend_quarantine
from worker.jobs.storage_identity import proven, verify_location
from worker.quay.quay_lock import QuayLocks
from worker.storage.base import Erased, SetAside, Store, clock_s

log = logs.logger("dredge.erase")

# A request may be sent for so long after its claim.  A push waits no longer for an eraser that is frozen.
WINDOW_MS = 3_000
# Beside a Quay its pushes wait for each lock, so few are held at a time.
BESIDE_QUAY = 100


def erase(context: JobContext, *, budget_s: float) -> Cleared:
    """Erase due tombstones until none is left or the budget is used up; then `has_more`.

    An object that cannot be erased is postponed with a backoff while the others go.  A location that does
    not prove to be the right store is left alone.  Several erasers at once take different tombstones; a
    crash in between leaves them to be erased again after their fence.
    """
    budget = Budget(budget_s)
    with connection():
        total = tend_quarantine(context)
        for location in find_tombstone_locations():
            if location not in context.stores:
                total += fail_unconfigured(location)
            elif not verify_location(context.stores, location):
                total += _erase_location(context, location, budget)
            if total.has_more or total.stopped:
                break
        return total + tend_quarantine(context)


def _erase_location(context: JobContext, location: str, budget: Budget) -> Cleared:
    settings, place = context.settings, Place(location, context.stores[location])
    place = replace(place, quarantine_s=choose_quarantine_s(context, place.store))
    limit = min(settings.erase_batch, BESIDE_QUAY if settings.quay_redis_url else settings.erase_batch)
    limit = context.limits.cap("objects", limit)
    total = Cleared()
    while True:
        if stopped := find_stop(context):
            log.warning("erasing.stopped", reason=stopped)
            return total + Cleared(stopped=stopped)
        if not context.limits.admit("objects", "bytes", budget=budget):
            return total + Cleared(has_more=True)
        started = time.monotonic()
        with metrics.batch("erase"):
            cleared = _erase_batch(place, limit, settings.quay_redis_url)
        context.limits.charge(objects=cleared.claimed, bytes=cleared.bytes)
        _slow_down(settings.erase_rate, cleared.claimed, time.monotonic() - started)
        total += cleared
        if cleared.claimed < limit:
            return total
        if not budget:
            return total + Cleared(has_more=True)


def _erase_batch(place: Place, limit: int, quay_redis_url: str) -> Cleared:
    """One request: claim, look, send, settle."""
    window_ms = max(WINDOW_MS, place.store.late_delete_ms // 4)
    # Read before the database's clock: the request's time is over before its fence, never after.
    until_s = clock_s() + window_ms / 1000
    fence_ms = window_ms + place.store.late_delete_ms
    aside, outcome = place.quarantine_s > 0, Outcome()
    with transaction():
        claim = claim_tombstones(place.location, limit=limit, fence_ms=fence_ms, set_aside=aside)
        # Safe: the tombstones are locked, and this is a new statement.  A push that wants one of these
        # digests locks its tombstone before it commits its row: it shows here, or it will see the fence.
        doomed = _drop_referred(claim.tombstones, outcome)
        settle_tombstones(claim.token, [t.id for t in outcome.dropped if not t.set_aside])
    if not claim.tombstones:
        return Cleared()
    with QuayLocks(quay_redis_url, lease_ms=fence_ms) as locks:
        if locks.needed:
            doomed = _lock_with_quay(locks, doomed, outcome)
        _send(place.store, doomed, outcome, until_s, set_aside=aside)
        _put_back(place.store, outcome)
        locks.keep(outcome.unknown)
        _distrust_missing(place, outcome)
        settle(place, claim, outcome)
    return Cleared.of(outcome, claimed=len(claim.tombstones))


def _drop_referred(tombstones: Iterable[Tombstone], outcome: Outcome) -> list[Tombstone]:
    """Put aside those whose object is referenced by a blob row again; the others."""
    given = list(tombstones)
    referred = find_referred(given)
    outcome.dropped += [tombstone for tombstone in given if tombstone.id in referred]
    return [tombstone for tombstone in given if tombstone.id not in referred]


def _put_back(store: Store, outcome: Outcome) -> None:
    """An earlier request may have moved objects that are referred to again: see that they are in place."""
    for tombstone in [t for t in outcome.dropped if t.set_aside]:
        try:
            store.put_back(tombstone.path, trash_path(tombstone.id, tombstone.path))
        except Exception as error:  # noqa: BLE001  one object's odd answer blocks no other
            outcome.dropped.remove(tombstone)
            outcome.failed[tombstone.id] = str(error)


def _lock_with_quay(locks: QuayLocks, doomed: list[Tombstone], outcome: Outcome) -> list[Tombstone]:
    """Take Quay's own lock for each digest, look once more, and see that the locks still hold.

    Its pushes know no tombstones, and a Redis that was flushed knows no locks.
    """
    held, busy = locks.take(doomed)
    outcome.failed.update({tombstone.id: "Quay holds the digest's lock" for tombstone in busy})
    free = _drop_referred(held, outcome)
    ours, lost = locks.verify(free)
    outcome.failed.update({tombstone.id: "Quay's Redis has forgotten our lock" for tombstone in lost})
    return ours


def _send(
    store: Store, doomed: list[Tombstone], outcome: Outcome, until_s: float, *, set_aside: bool
) -> None:
    """Send one request for all of them; the driver looks at the clock right before it sends."""
    if set_aside:
        moves = [(tombstone.path, trash_path(tombstone.id, tombstone.path)) for tombstone in doomed]
        for tombstone, moved in zip(doomed, store.set_aside(moves, until_s=until_s), strict=True):
            _sort_out(tombstone, moved, outcome)
    else:
        results = store.erase([tombstone.path for tombstone in doomed], until_s=until_s)
        for tombstone, erased in zip(doomed, results, strict=True):
            _sort_out(tombstone, erased, outcome)


def _sort_out(tombstone: Tombstone, result: Erased | SetAside, outcome: Outcome) -> None:
    if not result.sent:
        outcome.unsent.append(tombstone)
    elif result.unknown:
        outcome.unknown[tombstone.id] = result.error or "the store did not answer"
    elif result.error is not None:
        outcome.failed[tombstone.id] = result.error
    elif tombstone.set_aside or (isinstance(result, SetAside) and result.existed is not False):
        version = result.version if isinstance(result, SetAside) else ""
        outcome.moved.append((tombstone, trash_path(tombstone.id, tombstone.path), version))
    elif result.existed is False:
        outcome.missing.append(tombstone)
    else:
        outcome.erased.append(tombstone)


def _distrust_missing(place: Place, outcome: Outcome) -> None:
    """A missing object says something only where the store shows others: a prefix may be wrong."""
    if outcome.missing and not proven(place.store, place.location):
        wrong = "it is not there, and neither is any object that the rows know"
        outcome.failed.update({tombstone.id: wrong for tombstone in outcome.missing})
        outcome.missing.clear()


def _slow_down(rate: int, erased: int, seconds: float) -> None:
    """Keep to the configured objects per second."""
    if rate and erased:
        time.sleep(max(0.0, erased / rate - seconds))
