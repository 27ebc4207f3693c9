"""The rate of requests to a store: unlimited until the store asks for fewer, then close below its limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# A refusal this soon after the last one means that the rate is far above the limit.
_AGAIN_S = 2.0
_FAR_ABOVE, _JUST_ABOVE = 0.5, 0.85
# Seconds in which the rate rises to the refused one again, quickly at first.
_RETURN_S = 15.0
# After that it rises by this factor each second, because the limit may be higher now.
_GROWTH = 1.1
# A request has at most the objects of this many seconds, so that a refusal concerns few of them.
_REQUEST_S = 0.05
_FEWEST = 10


class RequestRate:
    """A limit in objects per second that finds the store's limit and stays close below it.  Thread-safe.

    After a refusal the rate falls, rises to the refused rate within 15 seconds, and then faster and faster.
    So the rate is within 10 % of a constant limit on average, and a refusal comes about every 15 seconds.
    """

    def __init__(
        self,
        *,
        ceiling: float = 20_000,
        floor: float = 50,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.rate = ceiling
        self._ceiling, self._floor = ceiling, floor
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._slowed_at = self._heard_at = float("-inf")
        # The rate after the last refusal and the refused rate, and the seconds in which the rate rose since.
        self._low, self._refused, self._rising_s = ceiling, ceiling, 0.0

    def chunk(self, most: int) -> int:
        """Return how many objects the next request may have, at most `most`."""
        return max(min(most, _FEWEST), min(most, int(self.rate * _REQUEST_S)))

    def wait(self, objects: int) -> None:
        """Sleep until a request for this number of objects may be sent."""
        with self._lock:
            now = self._clock()
            start = max(now, self._free_at)
            self._free_at = start + objects / self.rate
        if start > now:
            self._sleep(start - now)

    def slower(self) -> None:
        """Decrease the rate after a refused request, at most once a second."""
        with self._lock:
            now = self._clock()
            since, self._heard_at = now - self._slowed_at, now
            if since < 1:
                return
            self._slowed_at, self._rising_s, self._refused = now, 0.0, self.rate
            is_unknown = self.rate == self._ceiling
            factor = _FAR_ABOVE if is_unknown or since < _AGAIN_S else _JUST_ABOVE
            self.rate = self._low = max(self._floor, self.rate * factor)

    def faster(self) -> None:
        """Increase the rate after a successful request, by the time since the last answer (at most 1 s)."""
        with self._lock:
            now = self._clock()
            self._rising_s += min(1.0, now - self._heard_at)
            self._heard_at = now
            self.rate = min(self._ceiling, max(self.rate, self._risen()))

    def _risen(self) -> float:
        left = 1 - self._rising_s / _RETURN_S
        if left > 0:
            return self._refused - (self._refused - self._low) * left**3
        return float(self._refused * _GROWTH ** (self._rising_s - _RETURN_S))
