"""Rate limits of the whole fleet: the row of a limit says until when it is closed.

Every worker asks before a batch, and charges the limit after it.  So the mean over all workers keeps the
rate; for a short time each of them may run one batch at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch, fetch_one

# The database's health is a limit, too: if one worker finds it bad, all workers wait.
Name = Literal["rows", "objects", "bytes", "health"]
LIMITS: tuple[Name, ...] = get_args(Name)

_CHARGE = f"""
INSERT INTO dredge_limit AS l (name, free_ms) VALUES (%(name)s, {NOW_MS_SQL} + %(cost_ms)s)
ON CONFLICT (name) DO UPDATE SET free_ms = greatest(l.free_ms, {NOW_MS_SQL}) + %(cost_ms)s
"""

_CLOSE = f"""
INSERT INTO dredge_limit AS l (name, free_ms) VALUES (%(name)s, {NOW_MS_SQL} + %(for_ms)s)
ON CONFLICT (name) DO UPDATE SET free_ms = greatest(l.free_ms, excluded.free_ms)
"""

_WAIT = f"""
SELECT greatest(coalesce(max(l.free_ms) - {NOW_MS_SQL}, 0), 0)::bigint AS wait_ms FROM dredge_limit l
WHERE l.name = ANY(%(names)s)
"""

_LIST = f"""
SELECT l.name, greatest(l.free_ms - {NOW_MS_SQL}, 0)::bigint AS wait_ms FROM dredge_limit l ORDER BY l.name
"""


@dataclass(frozen=True)
class LimitState:
    """How many milliseconds all workers wait for one limit; 0: none."""

    name: str
    wait_ms: int


def charge(name: Name, amount: int, *, per_s: int) -> None:
    """Charge an amount: close the limit for the time that the rate needs for it.

    Call it after the commit of the work, so that its row is locked for one statement only.  Not idempotent.
    """
    if amount > 0:
        execute(_CHARGE, {"name": name, "cost_ms": math.ceil(amount * 1000 / per_s)})


def close(name: Name, *, for_ms: int) -> None:
    """Close a limit for `for_ms`; if it is closed for longer already, that stays."""
    execute(_CLOSE, {"name": name, "for_ms": for_ms})


def read_wait_ms(names: Sequence[Name]) -> int:
    """Return the milliseconds until all of these limits are open; 0 means now.  Only reads."""
    return int(fetch_one(_WAIT, {"names": list(names)}).wait_ms)


def list_limits() -> list[LimitState]:
    """Return every limit that was ever used, by name; only reads."""
    return [LimitState(*row) for row in fetch(_LIST)]
