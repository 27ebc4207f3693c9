"""Put objects of the trash back where they are referred to, and purge them when their time is over."""

from __future__ import annotations

from collections.abc import Sequence

from model.db.clock import now_ms
from model.db.connection import transaction
from model.gc.quarantine import (
    QuarantineClaim,
    Quarantined,
    claim_quarantined,
    look_at_quarantine,
    postpone_quarantined,
    settle_quarantined,
)
from model.gc.storage_identity import others_write
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.erase_outcome import Cleared, record_erased
from worker.jobs.storage_identity import verify_location
from worker.storage.base import Store, Trash

log = logs.logger("dredge.quarantine")

AUTOMATIC_S = 86_400
BATCH = 1_000
LEASE_MS = 60_000


def choose_quarantine_s(context: JobContext, store: Store) -> int:
    """Return how long objects of a store stay in the trash; 0 where they are erased at once.

    By itself: a day where it costs little, and where others than Dredge write.
    """
    settings = context.settings
    if settings.quarantine_s is not None:
        return settings.quarantine_s
    if store.quarantine_is_cheap or settings.quay_redis_url or others_write():
        return AUTOMATIC_S
    return 0


def tend_quarantine(context: JobContext) -> Cleared:
    """Put back and purge what is due, at the locations that prove to be the right store.

    Several at once take different objects.  Idempotent.
    """
    total = Cleared()
    for location in look_at_quarantine(limit=10 * BATCH):
        if location not in context.stores or verify_location(context.stores, location):
            continue
        while True:
            with transaction():
                claim = claim_quarantined([location], limit=BATCH, lease_ms=LEASE_MS)
            if not claim.rows:
                break
            total += _tend(context.stores[location], claim, may_purge=not find_stop(context))
    return total


def _tend(store: Store, claim: QuarantineClaim, *, may_purge: bool) -> Cleared:
    errors: dict[int, str] = {}
    back = _put_back(store, [row for row in claim.rows if row.referred], errors)
    # Safe: nothing refers to the digest in a statement that began after the row was locked, the name in the
    # trash is no live object's, and a reference that comes now brings its own bytes.
    over = [row for row in claim.rows if row.over and not row.referred]
    purged, missing = _purge(store, over if may_purge else [], errors)
    started_ms = now_ms()
    with transaction():
        ours = settle_quarantined(claim.token, [row.id for row in (*back, *purged, *missing)])
        purged, missing = ([row for row in rows if row.id in ours] for rows in (purged, missing))
        record_erased(purged, missing, started_ms)
        if errors:
            postpone_quarantined(claim.token, errors)
    return Cleared(
        objects=len(purged),
        bytes=sum(row.size for row in purged),
        missing=len(missing),
        put_back=len(back),
        failed=len(errors),
    )


def _put_back(store: Store, rows: Sequence[Quarantined], errors: dict[int, str]) -> list[Quarantined]:
    """Put back one after the other; those that are settled by it."""
    done = []
    for row in rows:
        try:
            there = store.put_back(row.path, row.trash, row.version)
        except Exception as error:  # noqa: BLE001  one object's odd answer blocks no other
            errors[row.id] = str(error)
            log.warning("object.not_put_back", digest=row.digest, location=row.location, error=str(error))
            continue
        done.append(row)
        if there:
            log.info("object.put_back", digest=row.digest, location=row.location)
        else:
            log.error("object.lost", digest=row.digest, location=row.location)
    return done


def _purge(
    store: Store, rows: Sequence[Quarantined], errors: dict[int, str]
) -> tuple[list[Quarantined], list[Quarantined]]:
    """Purge rows in one call: (gone, already missing)."""
    gone, missing = [], []
    results = store.purge([Trash(row.path, row.trash, row.version) for row in rows]) if rows else []
    for row, result in zip(rows, results, strict=True):
        if result.error is not None:
            errors[row.id] = result.error
            log.warning("object.not_purged", location=row.location, error=result.error)
        elif result.existed is False:
            missing.append(row)
        else:
            gone.append(row)
    return gone, missing
