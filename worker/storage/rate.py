"""The rate of requests to a store: unlimited until the store asks for fewer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """A limit in objects per second, by additive increase and multiplicative decrease.  Thread-safe."""

    def __init__(
        self,
        *,
        ceiling: float = 20_000,
        floor: float = 50,
        step: float = 200,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate = ceiling
        self._ceiling, self._floor, self._step = ceiling, floor, step
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._slowed_at = float("-inf")

    def wait(self, objects: int) -> None:
        """Sleep until a request for this number of objects may be sent."""
        with self._lock:
            now = self._clock()
            start = max(now, self._free_at)
            self._free_at = start + objects / self.rate
        if start > now:
            self._sleep(start - now)

    def slower(self) -> None:
        """Halve the rate after a refused request, at most once a second."""
        with self._lock:
            now = self._clock()
            if now - self._slowed_at >= 1:
                self._slowed_at = now
                self.rate = max(self._floor, self.rate / 2)

    def faster(self) -> None:
        """Increase the rate after a successful request."""
        with self._lock:
            self.rate = min(self._ceiling, self.rate + self._step)
