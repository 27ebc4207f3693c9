"""Delete the other rows that refer to a purged row, in an order that satisfies the foreign keys."""

from __future__ import annotations

from model.db.connection import execute
from model.purge.references import Steps


def take_steps(steps: Steps, root_id: int, *, limit: int) -> int:
    """Delete, or set to null, at most `limit` rows that refer to the purged row, the deepest first.

    Returns how many.  Safe: the purged row is locked by the caller, deleted by its owner, and its grace is
    over; each foreign key has a rule that says that its rows mean nothing without it.  Idempotent.
    """
    taken = 0
    for step in steps.own:
        if taken >= limit:
            break
        taken += execute(step.statement, {"root": root_id, "limit": limit - taken})
    return taken
