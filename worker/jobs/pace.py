"""Bound how long a job runs, and how much it does in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator


class Budget:
    """A number of seconds to work in; true until they have passed."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __bool__(self) -> bool:
        return self.left_s > 0

    @property
    def left_s(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self._end - time.monotonic())


class BatchSize:
    """The number of items for the next transaction, so that each transaction takes about `target_ms`.

    Adapts to the duration of the last one: at most doubles, and stays between 16 and `most`.  The size is
    kept from one piece of work to the next, but a piece starts with at most `first` items, since its items
    may take longer.
    """

    LEAST = 16
    FIRST = 250

    def __init__(self, *, most: int, target_ms: int, first: int = FIRST) -> None:
        self._most = most
        self._target_s = target_ms / 1000
        self._first = min(most, first)
        self.value = self._first

    def batches(self, budget: Budget, admit: Callable[[], bool] = lambda: True) -> Iterator[int]:
        """Yield sizes, at least one, until the budget is used up or `admit` returns False; `admit` may wait.

        The time between two requests for a size is the duration of a batch, and adapts the next size.  The
        last batch does not adapt it: it may be only partly full.
        """
        self.value = min(self.value, self._first)
        while admit():
            started = time.monotonic()
            yield self.value
            self._adapt(time.monotonic() - started)
            if not budget:
                return

    def shrink(self) -> bool:
        """Quarter the next size after the server cancelled a batch.  False if it is the smallest already."""
        before, self.value = self.value, max(self.LEAST, self.value // 4)
        return self.value < before

    def _adapt(self, seconds: float) -> None:
        wanted = max(self.LEAST, self.value * self._target_s / max(seconds, 1e-6))
        self.value = round(min(wanted, 2 * self.value, self._most))
