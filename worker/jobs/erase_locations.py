"""Which locations a turn of the eraser visits: those with due tombstones."""

from __future__ import annotations

from model.db.clock import now_ms
from model.db.connection import transaction
from model.gc.tombstones import (
    claim_tombstones,
    find_locations_with_due,
    find_tombstone_locations,
    postpone_tombstones,
)
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.erase_outcome import Cleared

log = logs.logger("dredge.erase")

UNCONFIGURED = 1_000


def find_locations(context: JobContext) -> list[str]:
    """Return the configured locations with due tombstones."""
    moment, starts = now_ms(), {name: context.starts[f"erase {name}"] for name in context.stores}
    found = find_locations_with_due({name: start.begin() for name, start in starts.items()}, now_ms=moment)
    for name in starts.keys() - {*found}:
        starts[name].reach((moment, 0))
    return found


def fail_unconfigured(context: JobContext) -> Cleared:
    """Postpone the due tombstones of locations that this process cannot reach.

    Finding these locations reads the whole index beside an old snapshot, so not every turn looks.
    """
    look = context.starts["erase"]
    if not look.front_is_due:
        return Cleared()
    look.begin()
    failed = [_fail_location(name) for name in find_tombstone_locations() if name not in context.stores]
    look.reach(None)
    return sum(failed, Cleared())


def _fail_location(location: str) -> Cleared:
    with transaction():
        claim = claim_tombstones(location, limit=UNCONFIGURED, fence_ms=0, lease_ms=0, set_aside=False)
        error = f"location {location} is not configured"
        postpone_tombstones(claim.token, {tombstone.id: error for tombstone in claim.tombstones})
    if claim.tombstones:
        log.warning("object.not_erased", location=location, error=error)
    return Cleared(failed=len(claim.tombstones))
