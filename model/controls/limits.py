"""Limits of the whole fleet: a row for each says until when what was used up is paid for.

Every worker asks before a batch and is charged after it, so the mean over all of them keeps to the rate; for
an instant each of them may run one batch at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch, fetch_one

# The database's health is a limit, too: one worker finds it bad, and all of them wait.
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
    """How long everybody waits for one limit; 0: nobody does."""

    name: str
    wait_ms: int


def charge(name: Name, amount: int, *, per_s: int) -> None:
    """Count an amount that was used: the limit is closed for as long as the rate needs for it.

    A statement of its own, after the commit of what used it up: nobody holds the row for longer.
    """
    if amount > 0:
        execute(_CHARGE, {"name": name, "cost_ms": math.ceil(amount * 1000 / per_s)})


def close(name: Name, *, for_ms: int) -> None:
    """Close a limit for so long, or longer if it is closed for longer already."""
    execute(_CLOSE, {"name": name, "for_ms": for_ms})


def read_wait_ms(names: Sequence[Name]) -> int:
    """Return how long to wait until all of these limits are free; 0: go on."""
    return int(fetch_one(_WAIT, {"names": list(names)}).wait_ms)


def list_limits() -> list[LimitState]:
    """Every limit that was ever used, by name; only reads."""
    return [LimitState(*row) for row in fetch(_LIST)]
