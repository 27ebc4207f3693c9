"""A bounded cache in the memory of this process, for development and for a single process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence


class MemoryBackend:
    """Deletes the least recently used entries first.  Other processes do not see its entries."""

    def __init__(
        self,
        max_entries: int = 10_000,
        max_bytes: int = 64_000_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()

    def get(self, name: str, fresh: bool = False) -> bytes | None:
        with self._lock:
            return self._get(name)

    def get_both(self, name: str, other: str) -> tuple[bytes | None, bytes | None]:
        with self._lock:
            return self._get(name), self._get(other)

    def swap(self, name: str, seen: bytes | None, value: bytes, ttl_ms: int) -> bytes | None:
        with self._lock:
            now = self._get(name)
            if now is None or now == seen:
                self._put(name, value, ttl_ms)
                return None
            return now

    def settle(self, name: str, mine: bytes, value: bytes, ttl_ms: int) -> bool:
        with self._lock:
            if self._get(name) != mine:
                return False
            self._drop(name)
            if ttl_ms:
                self._put(name, value, ttl_ms)
            return True

    def forget(self, names: Sequence[str]) -> bool:
        with self._lock:
            for name in names:
                self._drop(name)
        return True

    def close(self) -> None:
        """Delete all entries."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def _get(self, name: str) -> bytes | None:
        found = self._entries.get(name)
        if found is None:
            return None
        if found[0] <= self._clock():
            self._drop(name)
            return None
        self._entries.move_to_end(name)
        return found[1]

    def _put(self, name: str, value: bytes, ttl_ms: int) -> None:
        self._drop(name)
        self._entries[name] = (self._clock() + ttl_ms / 1000, value)
        self._bytes += len(name) + len(value)
        while self._entries and (len(self._entries) > self._max_entries or self._bytes > self._max_bytes):
            self._drop(next(iter(self._entries)))

    def _drop(self, name: str) -> None:
        found = self._entries.pop(name, None)
        if found is not None:
            self._bytes -= len(name) + len(found[1])
