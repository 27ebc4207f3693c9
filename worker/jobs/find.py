"""Where there is garbage: one bounded look at the registry."""

from __future__ import annotations

from model.db.clock import now_ms
from model.gc.find import Due, find_in_slice, find_others
from model.policy import Policy
from worker.jobs.pace import Budget

STEP = 5_000
BUDGET_S = 5.0


def find_due(policy: Policy, *, after: int, slice: int, limit: int) -> tuple[list[Due], int, int]:
    """Repositories with garbage among the `slice` after an id, where to go on, and how many were looked at.

    Only reads, in steps, each a short statement; ends early with `limit` found, at the end of the
    registry (then the next position is 0), or after five seconds.  Garbage that is not a tag is
    found whatever the slice.
    """
    moment = now_ms()
    others = find_others(policy=policy, now_ms=moment, limit=limit)
    budget = Budget(BUDGET_S)
    found: list[Due] = []
    position, looked = after, 0
    while looked < slice and len(found) < limit and budget:
        step = find_in_slice(after=position, slice=min(STEP, slice - looked), policy=policy, now_ms=moment)
        found += step.due
        looked += step.looked
        position = step.last
        if not position:
            break
    return [*others, *found], position, looked
