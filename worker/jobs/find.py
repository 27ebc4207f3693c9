"""Find repositories with garbage in one bounded part of the registry."""

from __future__ import annotations

from model.db.clock import now_ms
from model.gc.find import Due, find_in_slice, find_others
from model.policy import Policy
from worker.jobs.pace import Budget

STEP = 5_000
BUDGET_S = 5.0


def find_due(policy: Policy, *, after: int, slice: int, limit: int) -> tuple[list[Due], int, int]:
    """Find repositories with garbage among the next `slice` repositories after the ID `after`.

    Returns those found, the ID from which the next call goes on, and how many repositories were examined.
    Only reads, in short statements.  Ends early when `limit` are found, at the end of the registry (the next
    position is then 0), or after five seconds.  Garbage other than tags is found outside the slice, too.
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
