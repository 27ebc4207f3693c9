"""Put objects of the trash back if they are referenced, and purge the others when their quarantine ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from model.counts import Counts
from model.db.clock import now_ms
from model.db.connection import short_transaction
from model.db.queue_start import QueueStart
from model.gc.quarantine import (
    QuarantineClaim,
    Quarantined,
    claim_digest,
    claim_quarantined,
    keep_quarantined,
    postpone_quarantined,
    release_quarantined,
    settle_quarantined,
)
from model.gc.quarantine_looks import look_at_quarantine
from model.gc.storage_identity import others_write
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.erase_outcome import Cleared, record_erased
from worker.jobs.isolation import is_of_an_item
from worker.jobs.pace import Budget
from worker.jobs.storage_identity import verify_location
from worker.settings import Settings
from worker.storage.base import Store, Trash

log = logs.logger("dredge.quarantine")

AUTOMATIC_S = 86_400
BATCH = 1_000
LEASE_MS = 60_000


def choose_quarantine_s(settings: Settings, store: Store) -> int:
    """Return how many seconds objects of a store stay in the trash; 0 means that they are erased at once.

    Without a setting it is a day if the quarantine is cheap or if a live Quay writes to the store, else 0.
    """
    if settings.quarantine_s is not None:
        return settings.quarantine_s
    if store.quarantine_is_cheap or settings.quay_redis_url or others_write():
        return AUTOMATIC_S
    return 0


def tend_quarantine(context: JobContext, budget: Budget) -> Cleared:
    """Put back and purge the due objects of the trash, at locations whose store is verified.

    Puts back first.  `has_more` is True if the budget is used up.  The copy in the trash of an object that
    was put back is purged by a later step.  Concurrent calls claim different objects.  Idempotent.
    """
    total = Cleared()
    moment, starts = now_ms(), {name: context.starts[f"quarantine {name}"] for name in context.stores}
    begun = {name: start.begin() for name, start in starts.items()}
    found = look_at_quarantine(begun, now_ms=moment, limit=10 * BATCH)
    for location in starts.keys() - {*found}:
        starts[location].reach((moment, 0))
    for location in found:
        if verify_location(context.stores, location):
            continue
        while True:
            claim = _claim(location, starts[location])
            if claim.rows:
                total += _tend(context, location, claim)
            if not claim.more or not claim.rows:
                break
            if not budget:
                return total + Cleared(has_more=True)
    return total


def _claim(location: str, start: QueueStart) -> QuarantineClaim:
    with short_transaction():
        claim = claim_quarantined(location, limit=BATCH, lease_ms=LEASE_MS, start=start.go_on())
    if claim.first is not None:
        start.reach(claim.first)
    return claim


def put_back_now(context: JobContext, digest: str, location: str) -> None:
    """Put back the digest's objects at a verified location if a row references them.  Idempotent."""
    with short_transaction():
        claim = claim_digest(digest, location, lease_ms=LEASE_MS)
    _tend(context, location, claim)


@dataclass(frozen=True)
class _Tended(Counts):
    """The rows of one claim, one group for each outcome.

    `spare`: the object was in its place already and nothing can move it again, so its copy may be purged.
    """

    back: tuple[Quarantined, ...] = ()
    kept: tuple[Quarantined, ...] = ()
    lost: tuple[Quarantined, ...] = ()
    spare: tuple[Quarantined, ...] = ()
    purged: tuple[Quarantined, ...] = ()
    missing: tuple[Quarantined, ...] = ()
    errors: Mapping[int, str] = field(default_factory=dict)
    divided: Mapping[int, str] = field(default_factory=dict)

    def untouched(self, claim: QuarantineClaim) -> list[int]:
        """Return the ids of the claimed rows with which nothing was done."""
        rows = (*self.kept, *self.lost, *self.purged, *self.missing)
        done = {row.id for row in rows} | self.errors.keys() | self.divided.keys()
        return [row.id for row in claim.rows if row.id not in done]


def _tend(context: JobContext, location: str, claim: QuarantineClaim) -> Cleared:
    store = context.stores[location]
    tended = sum((_see_to(store, row) for row in claim.rows if row.referred), _Tended())
    # Safe: a statement that began after the row was locked saw no reference to the digest, no live object has
    # a name in the trash, and a push that references the digest from now on writes the bytes itself.
    over = [row for row in claim.rows if row.over and not row.referred]
    if not find_stop(context) and context.limits.admit("objects", "bytes", budget=Budget(0)):
        # Safe: this step saw the object in its place, and no late request can move it away from there.
        tended += _purge(store, [*over, *tended.spare])
        context.limits.charge(objects=len(tended.purged), bytes=sum(row.size for row in tended.purged))
    tended = _settle(claim, _distrust_missing(context, location, tended))
    return Cleared(
        objects=sum(_is_freed(row) for row in tended.purged),
        bytes=sum(row.size for row in tended.purged if _is_freed(row)),
        missing=sum(_is_freed(row) for row in tended.missing),
        put_back=len(tended.back),
        failed=len(tended.errors) + len(tended.divided),
    )


def _is_freed(row: Quarantined) -> bool:
    """Return whether a purge frees the object: it exists only in the trash."""
    return not (row.referred or row.returned)


def _see_to(store: Store, row: Quarantined) -> _Tended:
    """Put back a referenced object, unless it is in its place."""
    try:
        live = store.size(row.path) is not None
        there = live or store.put_back(row.path, row.trash, row.version)
    except Exception as error:  # noqa: BLE001  one object's odd answer blocks no other
        log.warning("object.not_put_back", digest=row.digest, location=row.location, error=str(error))
        return _Tended(errors={row.id: str(error)})
    if live and (row.over or not row.unanswered):
        return _Tended(spare=(row,))
    if not there:
        return _Tended(lost=(row,))
    if live:
        return _Tended(kept=(row,))
    log.info("object.put_back", digest=row.digest, location=row.location)
    return _Tended(kept=(row,), back=(row,))


def _purge(store: Store, rows: Sequence[Quarantined]) -> _Tended:
    """Purge rows in one request.  If the driver raises, any of them may be the cause: they are divided."""
    try:
        results = store.purge([Trash(row.path, row.trash, row.version) for row in rows]) if rows else []
        answered = list(zip(rows, results, strict=True))
    except Exception as error:  # noqa: BLE001  one object or store must not block the others
        log.warning("object.not_purged", location=rows[0].location, objects=len(rows), error=str(error))
        errors = {row.id: f"{type(error).__name__}: {error}" for row in rows}
        return _Tended(divided=errors) if is_of_an_item(error) else _Tended(errors=errors)
    for row, result in answered:
        if result.error is not None:
            log.warning("object.not_purged", location=row.location, error=result.error)
    return _Tended(
        purged=tuple(row for row, result in answered if result.error is None and result.existed is not False),
        missing=tuple(row for row, result in answered if result.error is None and result.existed is False),
        errors={row.id: result.error for row, result in answered if result.error is not None},
    )


def _distrust_missing(context: JobContext, location: str, tended: _Tended) -> _Tended:
    """Accept "object missing" only if the store, checked after that answer, is the right one.

    A referenced object counts as missing only at the end of its quarantine: a push may be writing it.
    """
    if not tended.missing and not tended.lost:
        return tended
    wrong = verify_location(context.stores, location)
    for row in tended.lost:
        log.error("object.lost", digest=row.digest, location=row.location)
    if wrong:
        errors = {row.id: wrong for row in (*tended.lost, *tended.missing)}
        return replace(tended, missing=()) + _Tended(errors=errors)
    early = "it is neither in its place nor in the trash"
    return tended + _Tended(errors={row.id: early for row in tended.lost if not row.over})


def _settle(claim: QuarantineClaim, tended: _Tended) -> _Tended:
    """Record the outcome of the rows that this process still holds.  Returns what became of those."""
    lost = [row for row in tended.lost if row.id not in tended.errors]
    started_ms = now_ms()
    with short_transaction():
        done = [row.id for row in (*lost, *tended.purged, *tended.missing)]
        ours = settle_quarantined(claim.token, done)
        tended = replace(
            tended,
            purged=tuple(row for row in tended.purged if row.id in ours),
            missing=tuple(row for row in tended.missing if row.id in ours),
        )
        freed, gone = ([row for row in rows if _is_freed(row)] for rows in (tended.purged, tended.missing))
        record_erased(freed, gone, started_ms)
        if tended.kept:
            keep_quarantined(claim.token, [row.id for row in tended.kept])
        if tended.errors:
            postpone_quarantined(claim.token, tended.errors)
        if tended.divided:
            postpone_quarantined(claim.token, tended.divided, divide=True)
        if untouched := tended.untouched(claim):
            release_quarantined(claim.token, untouched)
    return tended
