"""Counters of the cache: one call for each thing that happened."""

from __future__ import annotations

from typing import Literal, Protocol, get_args

Outcome = Literal[
    "hit",  # answered from the cache
    "miss",  # the loader ran and this caller held the lease
    "bypass",  # the loader ran without a lease: another loader was slow, or the cache is unavailable
    "store",  # a loaded value was stored
    "revoked",  # a loaded value was not stored: an invalidation came in between
    "oversize",  # a loaded value was not stored: larger than its kind's limit
    "declined",  # a loaded value was not stored: `should_cache` said no, or it has no lifetime
    "invalidate",  # an entry was forgotten
    "undelivered",  # an entry could not be forgotten now: it is kept for later
    "error",  # the cache's server did not answer, or answered nonsense
]
OUTCOMES: tuple[str, ...] = get_args(Outcome)


class Recorder(Protocol):
    """Counts outcomes by kind of key; `worker.metrics` implements it."""

    def record(self, kind: str, outcome: Outcome, seconds: float, count: int = 1) -> None:
        """`count` times `outcome` for `kind`, which took `seconds` together; must not raise or wait."""
        ...


class Silence:
    """The recorder of a process that nobody measures."""

    def record(self, kind: str, outcome: Outcome, seconds: float, count: int = 1) -> None:
        """Nothing happens."""
