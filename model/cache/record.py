"""Count what the cache does."""

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
    "invalidate",  # an entry was deleted
    "undelivered",  # an entry could not be deleted now: its name is kept, and it is deleted later
    "error",  # the cache's server did not answer, or its answer could not be read
]
OUTCOMES: tuple[str, ...] = get_args(Outcome)


class Recorder(Protocol):
    """Counts outcomes by kind of key; `worker.metrics` implements it."""

    def record(self, kind: str, outcome: Outcome, seconds: float, count: int = 1) -> None:
        """Count `outcome` of `kind` `count` times; all took `seconds` together.  Must not raise or wait."""
        ...


class Silence:
    """A recorder that counts nothing."""

    def record(self, kind: str, outcome: Outcome, seconds: float, count: int = 1) -> None:
        """Do nothing."""
