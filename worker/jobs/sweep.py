"""Sweep for orphans in slices, resumably: the first pass marks an orphan, the second confirms it."""

from __future__ import annotations

from dataclasses import replace

from model.db.clock import now_ms
from model.db.connection import connection
from model.gc.cursor import move_cursor, read_cursor
from model.gc.orphans.lost_owners import forget_lost_owners
from model.gc.orphans.rows import KINDS, Kind, sweep_slice
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.pace import Budget
from worker.jobs.sweep_objects import sweep_objects
from worker.jobs.sweep_result import Swept

log = logs.logger("dredge.sweep")

FORGET = 10_000
# A sweep pauses between its turns, so that other waiting tasks run first.
PAUSE_S = 1


def sweep(context: JobContext, *, budget_s: float, dry_run: bool = False) -> tuple[Swept, ...]:
    """Continue the pass over every kind until it is over or the budget is used up.  One result per kind.

    Positions are kept in the database, so a pass survives its process.  With `dry_run`, walks everything
    from the start, counts, and writes nothing.  Skips and reports a location that cannot be listed, or
    whose listing has no object that the rows know.
    """
    budget = Budget(budget_s)
    with connection():
        if not dry_run:
            forget_lost_owners(limit=FORGET)
        rows = [_sweep_rows(context, kind, budget, dry_run) for kind in KINDS]
        objects = [sweep_objects(context, name, budget, dry_run) for name in context.stores]
    found = (*rows, *objects)
    confirmed = {swept.kind for swept in found if swept.confirmed}
    if "blob" in confirmed:
        context.queue.review()
    if any(swept.confirmed for swept in objects):
        context.queue.erase()
    for swept in found:
        if swept.suspects or swept.error:
            log.info("sweep.looked", **vars(swept))
    return found


def _sweep_rows(context: JobContext, kind: Kind, budget: Budget, dry_run: bool) -> Swept:
    cursor = f"sweep.{kind.name}"
    position = 0 if dry_run else read_cursor(cursor)
    swept = Swept(kind.name)
    while True:
        if not dry_run and (stopped := find_stop(context)):
            return replace(swept, error=stopped)
        look = sweep_slice(
            kind,
            after=position,
            policy=context.policy,
            now_ms=now_ms(),
            delay_ms=context.settings.sweep_delay_s * 1000,
            dry_run=dry_run,
        )
        swept += Swept(kind.name, look.looked, look.suspects, look.confirmed)
        if look.position == position and look.position:
            return replace(swept, has_more=True)  # another process sweeps this kind
        position = look.position
        if not dry_run:
            move_cursor(cursor, position)
        if not position:
            return swept
        if not budget:
            return replace(swept, has_more=True)
