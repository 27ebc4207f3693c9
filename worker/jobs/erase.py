"""Erase the objects of tombstones, or move them to the trash, one fenced request after the other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from model.db.connection import connection, short_transaction
from model.db.queue_start import QueueStart
from model.gc.poison import DIVIDE_BY
from model.gc.tombstones import (
    Tombstone,
    claim_tombstones,
    find_referred,
    settle_tombstones,
)
from model.storage_paths import trash_path
from worker import logs, metrics
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.erase_locations import fail_unconfigured, find_locations
from worker.jobs.erase_outcome import Cleared, EraseOutcome, Place, settle
from worker.jobs.isolation import is_of_an_item
from worker.jobs.pace import Budget
from worker.jobs.quarantine import choose_quarantine_s, tend_quarantine
from worker.jobs.storage_identity import doubt, verify_location, verify_suspended
from worker.quay.quay_lock import QuayLocks
from worker.storage.base import Erased, SetAside, Store, Stores, clock_s

log = logs.logger("dredge.erase")

# Milliseconds after its claim in which a request may be sent.
WINDOW_MS = 3_000
# How long a request for objects that can be put back is fenced after that time.  A push waits no longer.
USUAL_MS = 2_000
# A live Quay's pushes wait for each of these locks, so few are held at a time.
BESIDE_QUAY = 100
# Missing objects that are looked up in parallel.
LOOKS = 16


def erase(context: JobContext, *, budget_s: float) -> Cleared:
    """Erase the objects of due tombstones until none is left or the budget is used up (then `has_more`).

    Postpones an object that cannot be erased, with a backoff, and goes on with the others.  Skips a location
    whose store cannot be verified.  Concurrent erasers claim different tombstones.  After a crash the claimed
    tombstones are erased again when their fence ends.  Idempotent.
    """
    budget = Budget(budget_s)
    with connection():
        verify_suspended(context.stores)
        total = tend_quarantine(context, Budget(budget_s / 2))
        total += fail_unconfigured(context)
        for location in find_locations(context):
            if verify_location(context.stores, location):
                continue
            erased = _erase_location(context, location, budget)
            total += erased
            if erased.has_more or erased.stopped:
                break
        return total + tend_quarantine(context, Budget(0))


def _erase_location(context: JobContext, location: str, budget: Budget) -> Cleared:
    settings, place = context.settings, Place(location, context.stores[location])
    place = replace(place, quarantine_s=choose_quarantine_s(settings, place.store))
    limit = min(settings.erase_batch, BESIDE_QUAY if settings.quay_redis_url else settings.erase_batch)
    most = limit = context.limits.cap("objects", limit)
    total = Cleared()
    start = context.starts[f"erase {location}"]
    while True:
        if stopped := find_stop(context):
            log.warning("erasing.stopped", reason=stopped)
            return total + Cleared(stopped=stopped)
        if not context.limits.admit("objects", "bytes", budget=budget):
            return total + Cleared(has_more=True)
        started = time.monotonic()
        with metrics.batch("erase"):
            cleared = _erase_batch(context, place, start, limit)
        context.limits.charge(objects=cleared.claimed, bytes=cleared.bytes)
        _slow_down(settings.erase_rate, cleared.claimed, time.monotonic() - started)
        total += cleared
        # A copy that took too long is found by the next request, which needs less time.
        again = cleared.unsent and budget and not place.patient
        if not (cleared.others or again):
            return total
        if not budget:
            return total + Cleared(has_more=True)
        place = replace(place, patient=place.patient or (cleared.unsent > 0 and limit == 1))
        limit = max(1, limit // DIVIDE_BY) if cleared.unsent else min(most, 2 * limit)


def fence_of(store: Store) -> int:
    """Return how long an object of one request is fenced if it cannot be put back, in milliseconds.

    That is the time in which it may be sent, and the time in which the store may still carry it out.
    """
    return max(WINDOW_MS, store.late_delete_ms // 4) + store.late_delete_ms


def late_ms(place: Place) -> int:
    """Return how long the objects of a request stay fenced after the last moment at which it may be sent.

    If the objects can be put back until every late request has been carried out, that is only the time of a
    usual answer: a later request moves an object that the next look at the trash puts back.
    """
    late = place.store.late_delete_ms
    can_be_put_back = place.quarantine_s * 1000 > fence_of(place.store)
    return min(USUAL_MS, late) if can_be_put_back and not place.patient else late


def _erase_batch(context: JobContext, place: Place, start: QueueStart, limit: int) -> Cleared:
    """Handle one request: claim tombstones, check for references, send, settle the rows."""
    longest_ms, late = fence_of(place.store), late_ms(place)
    window_ms = WINDOW_MS if late < place.store.late_delete_ms else longest_ms - late
    # Read before the database's clock, so that the request's time ends before its fence does.
    until_s = clock_s() + window_ms / 1000
    aside = place.quarantine_s > 0
    with short_transaction():
        claim = claim_tombstones(
            place.location,
            limit=limit,
            fence_ms=window_ms + late,
            lease_ms=longest_ms,
            set_aside=aside,
            start=start.go_on(),
        )
        # Safe: the tombstones are locked, and this is a new statement.  A push of one of these digests
        # locks its tombstone before it commits its row: either this statement sees the row, or the push
        # sees the fence.
        doomed, outcome = _drop_referred(claim.tombstones)
        if outcome.dropped:
            settle_tombstones(claim.token, [t.id for t in outcome.dropped if not t.set_aside])
    start.reach(claim.first)
    if not claim.tombstones:
        return Cleared()
    with QuayLocks(context.settings.quay_redis_url, lease_ms=window_ms + late) as locks:
        if locks.needed:
            doomed, kept = _lock_with_quay(locks, doomed)
            outcome += kept
        outcome += _send(place.store, doomed, until_s, set_aside=aside)
        locks.keep((*outcome.unknown, *outcome.divided))
        outcome = _distrust_missing(context.stores, place, outcome)
        settle(place, claim, outcome)
    return Cleared.of(outcome, claim)


def _drop_referred(tombstones: Iterable[Tombstone]) -> tuple[list[Tombstone], EraseOutcome]:
    """Return the tombstones to erase, and the outcome of those that a blob row references again."""
    given = list(tombstones)
    referred = find_referred(given)
    doomed = [tombstone for tombstone in given if tombstone.id not in referred]
    return doomed, EraseOutcome(dropped=tuple(t for t in given if t.id in referred))


def _lock_with_quay(locks: QuayLocks, doomed: list[Tombstone]) -> tuple[list[Tombstone], EraseOutcome]:
    """Take Quay's lock of each digest, check for references again, then check that the locks are still held.

    Returns the tombstones to erase, and the outcome of the others.

    The locks are needed because Quay's pushes do not read tombstones.  The last check is needed because a
    flush of Quay's Redis removes the locks.
    """
    held, busy = locks.take(doomed)
    failed = {tombstone.id: "Quay holds the digest's lock" for tombstone in busy}
    free, dropped = _drop_referred(held)
    ours, lost = locks.verify(free)
    failed |= {tombstone.id: "Quay's Redis has forgotten our lock" for tombstone in lost}
    return ours, dropped + EraseOutcome(failed=failed)


def _send(store: Store, doomed: list[Tombstone], until_s: float, *, set_aside: bool) -> EraseOutcome:
    """Send one request for all tombstones; the driver checks the clock right before it sends.

    If the driver raises, it is unknown what was sent and which object was the cause.
    """
    results: Sequence[Erased] | Sequence[SetAside]
    try:
        if set_aside:
            moves = [(tombstone.path, trash_path(tombstone.id, tombstone.path)) for tombstone in doomed]
            results = store.set_aside(moves, until_s=until_s)
        else:
            results = store.erase([tombstone.path for tombstone in doomed], until_s=until_s)
        answered: list[tuple[Tombstone, Erased | SetAside]] = list(zip(doomed, results, strict=True))
    except Exception as error:  # noqa: BLE001  one object or store must not block the others
        errors = {tombstone.id: f"{type(error).__name__}: {error}" for tombstone in doomed}
        return EraseOutcome(divided=errors) if is_of_an_item(error) else EraseOutcome(unknown=errors)
    return _sort_out(answered)


def _sort_out(answered: Iterable[tuple[Tombstone, Erased | SetAside]]) -> EraseOutcome:
    unsent, missing, moved, erased = [], [], [], []
    failed, unknown = {}, {}
    for tombstone, result in answered:
        if not result.sent:
            unsent.append(tombstone)
        elif result.unknown:
            unknown[tombstone.id] = result.error or "the store did not answer"
        elif result.error is not None:
            failed[tombstone.id] = result.error
        elif result.existed is False:
            missing.append(tombstone)
        elif tombstone.set_aside or isinstance(result, SetAside):
            version = result.version if isinstance(result, SetAside) else ""
            moved.append((tombstone, trash_path(tombstone.id, tombstone.path), version))
        else:
            erased.append(tombstone)
    return EraseOutcome(
        erased=tuple(erased),
        moved=tuple(moved),
        missing=tuple(missing),
        unsent=tuple(unsent),
        failed=failed,
        unknown=unknown,
    )


def _distrust_missing(stores: Stores, place: Place, outcome: EraseOutcome) -> EraseOutcome:
    """Accept "object missing" only if the store, checked after that answer, is the right one.

    The order matters: the disk may have been unmounted only during the request.  So first the store must
    show its identity and an object that a row references, and then must report again that this object is
    missing.  An earlier request may have moved the object to the trash; then its row is recorded as moved.
    """
    if not outcome.missing:
        return outcome
    wrong = doubt(stores, place.location)
    with ThreadPoolExecutor(LOOKS) as pool:
        found = pool.map(lambda tombstone: wrong or _look_again(place.store, tombstone), outcome.missing)
        reasons = {t.id: reason for t, reason in zip(outcome.missing, found, strict=True) if reason}
    gone = [tombstone for tombstone in outcome.missing if tombstone.id not in reasons]
    missing = tuple(tombstone for tombstone in gone if not tombstone.set_aside)
    moved = tuple((t, trash_path(t.id, t.path), "") for t in gone if t.set_aside)
    return replace(outcome, missing=missing) + EraseOutcome(moved=moved, failed=reasons)


def _look_again(store: Store, tombstone: Tombstone) -> str:
    """Return why an object does not count as missing, or an empty text if it is missing again."""
    try:
        return "" if store.size(tombstone.path) is None else "it was missing, and is there now"
    except Exception as error:  # noqa: BLE001  one object's odd answer blocks no other
        return str(error)


def _slow_down(rate: int, erased: int, seconds: float) -> None:
    """Sleep so that at most the configured number of objects is erased per second."""
    if rate and erased:
        time.sleep(max(0.0, erased / rate - seconds))
