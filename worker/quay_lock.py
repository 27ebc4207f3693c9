"""The lock that a live Quay takes around a digest's object, for those who run beside one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType

import redis
import redis_lock

from model.gc.tombstone import Stone

LEASE_S = 120


class QuayLocks:
    """Holds `BLOB_DELETE_<digest>` in Quay's Redis for a batch of digests; nothing without a URL.

    Quay takes the same lock (python-redis-lock) before it erases and while a push links a blob.
    The leases are renewed while they are held.
    """

    def __init__(self, url: str) -> None:
        self.needed = bool(url)
        self._url = url
        self._held = ExitStack()
        self._locks: list[redis_lock.Lock] = []

    def __enter__(self) -> QuayLocks:
        return self

    def take(self, stones: Iterable[Stone]) -> tuple[list[Stone], list[Stone]]:
        """Try the lock of every stone's digest, never waiting: (held, busy).

        A stone without a digest needs none.  When Redis does not answer, all the rest are busy: an
        object is never erased without its lock.
        """
        client = redis.Redis.from_url(self._url, socket_timeout=2, socket_connect_timeout=2)
        self._held.callback(client.close)
        waiting = deque(stones)
        held: list[Stone] = []
        busy: list[Stone] = []
        try:
            while waiting:
                (held if self._try(client, waiting[0]) else busy).append(waiting[0])
                waiting.popleft()
        except (redis.RedisError, OSError):
            busy += waiting  # asked once: a timeout for each would keep the tombstones locked
        return held, busy

    def _try(self, client: redis.Redis, stone: Stone) -> bool:
        if stone.digest is None:
            return True
        lock = redis_lock.Lock(
            client, f"BLOB_DELETE_{stone.digest}", expire=LEASE_S, auto_renewal=True, strict=False
        )
        if not lock.acquire(blocking=False):
            return False
        self._locks.append(lock)
        return True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for lock in self._locks:
            try:
                lock.release()
            except (redis_lock.NotAcquired, redis.RedisError, OSError):
                continue  # its lease ends by itself
        self._held.close()
