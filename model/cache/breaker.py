"""A circuit breaker: after a failure only one caller at a time tries the server again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LONGEST_FACTOR = 8


class Breaker:
    """The state of a server.  Callers read `open` first and call the methods only after a failure.

    The pause before the next probe doubles with each failed probe, up to eight times `pause_s`.
    """

    __slots__ = ("_clock", "_lock", "_next", "_pause", "_pause_s", "_probing", "open")

    def __init__(self, pause_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.open = False
        self._pause_s = pause_s
        self._pause = pause_s
        self._next = 0.0
        self._probing = False
        self._clock = clock
        self._lock = threading.Lock()

    def may_probe(self) -> bool:
        """Return True to one caller after the pause.  That caller must then call `close` or `fail`."""
        with self._lock:
            if not self.open:
                return True
            if self._probing or self._clock() < self._next:
                return False
            self._probing = True
            return True

    def close(self) -> None:
        """Close the breaker after a successful probe."""
        with self._lock:
            self.open = self._probing = False
            self._pause = self._pause_s

    def fail(self) -> None:
        """Open the breaker after a failure.  After a failed probe, also double the pause."""
        with self._lock:
            if self.open and not self._probing:
                return
            if self._probing:
                self._pause = min(self._pause * 2, self._pause_s * LONGEST_FACTOR)
            self._next = self._clock() + self._pause
            self.open, self._probing = True, False
