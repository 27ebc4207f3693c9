"""How long a job goes on, and how much it does at once."""

from __future__ import annotations

import time
from collections.abc import Iterator


class Budget:
    """A share of time: true until it is used up."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __bool__(self) -> bool:
        return time.monotonic() < self._end


class BatchSize:
    """How many to take in the next transaction, so that each lasts about `target_ms`.

    Doubles while transactions take less than half of the target, halves when one takes longer;
    between 16 and `most`.
    """

    LEAST = 16

    def __init__(self, *, most: int, target_ms: int) -> None:
        self._most = most
        self._target_s = target_ms / 1000
        self.value = min(most, 500)

    def timed(self) -> Iterator[int]:
        """Yield sizes for ever; the time until the next one is asked for adapts it."""
        while True:
            started = time.monotonic()
            yield self.value
            self._adapt(time.monotonic() - started)

    def _adapt(self, seconds: float) -> None:
        if seconds > self._target_s:
            self.value = min(self._most, max(self.LEAST, self.value // 2))
        elif seconds < self._target_s / 2:
            self.value = min(self._most, self.value * 2)
