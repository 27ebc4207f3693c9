"""How long a job goes on, and how much it does at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator


class Budget:
    """A share of time: true until it is used up."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __bool__(self) -> bool:
        return time.monotonic() < self._end


class BatchSize:
    """How many to take in the next transaction, so that each lasts about `target_ms`.

    At most twice as many as last time, and as few as the last one's duration says; between 16 and
    `most`.  What was learned stays from one piece of work to the next, but no more than `first` begin
    it: those of the next may be dearer.
    """

    LEAST = 16
    FIRST = 250

    def __init__(self, *, most: int, target_ms: int, first: int = FIRST) -> None:
        self._most = most
        self._target_s = target_ms / 1000
        self._first = min(most, first)
        self.value = self._first

    def batches(self, budget: Budget, admit: Callable[[], bool] = lambda: True) -> Iterator[int]:
        """Yield sizes, one at least, until the budget is used up, or `admit` says no: it may wait.

        The time until the next one is asked for adapts it; the last one, after which nothing is left
        to do, says nothing.
        """
        self.value = min(self.value, self._first)
        while admit():
            started = time.monotonic()
            yield self.value
            self._adapt(time.monotonic() - started)
            if not budget:
                return

    def shrink(self) -> bool:
        """The server ended a batch: the next one is a quarter of it.  False where there is no smaller one."""
        before, self.value = self.value, max(self.LEAST, self.value // 4)
        return self.value < before

    def _adapt(self, seconds: float) -> None:
        wanted = max(self.LEAST, self.value * self._target_s / max(seconds, 1e-6))
        self.value = round(min(wanted, 2 * self.value, self._most))
