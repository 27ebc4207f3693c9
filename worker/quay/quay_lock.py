"""The lock that a live Quay takes around a digest's object, for those who run beside one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from types import TracebackType

import redis
import redis_lock

from model.gc.tombstones import Tombstone
from worker import logs

log = logs.logger("dredge.quay_lock")

LEASE_S = 120
RENEW_S = LEASE_S / 4


class QuayLocks:
    """Holds `BLOB_DELETE_<digest>` in Quay's Redis for a batch of digests; nothing without a URL.

    Quay takes the same lock (python-redis-lock) before it erases and while a push links a blob.
    One thread renews the leases of all of them while they are held.
    """

    def __init__(self, url: str) -> None:
        self.needed = bool(url)
        self._url = url
        self._held = ExitStack()
        self._locks: list[redis_lock.Lock] = []
        self._done = threading.Event()

    def __enter__(self) -> QuayLocks:
        return self

    def take(self, tombstones: Iterable[Tombstone]) -> tuple[list[Tombstone], list[Tombstone]]:
        """Try the lock of every tombstone's digest, never waiting: (held, busy).

        A tombstone without a digest needs none.  When Redis does not answer, all the rest are busy: an
        object is never erased without its lock.
        """
        client = redis.Redis.from_url(self._url, socket_timeout=2, socket_connect_timeout=2)
        self._held.callback(client.close)
        self._keep_renewing()
        waiting = deque(tombstones)
        held: list[Tombstone] = []
        busy: list[Tombstone] = []
        try:
            while waiting:
                (held if self._try(client, waiting[0]) else busy).append(waiting[0])
                waiting.popleft()
        except (redis.RedisError, OSError):
            busy += waiting  # asked once: a timeout for each would keep the tombstones locked
        return held, busy

    def _try(self, client: redis.Redis, tombstone: Tombstone) -> bool:
        if tombstone.digest is None:
            return True
        lock = redis_lock.Lock(client, f"BLOB_DELETE_{tombstone.digest}", expire=LEASE_S, strict=False)
        if not lock.acquire(blocking=False):
            return False
        self._locks.append(lock)
        return True

    def _keep_renewing(self) -> None:
        renewer = threading.Thread(target=self._renew, name="dredge-quay-locks", daemon=True)
        renewer.start()
        self._held.callback(renewer.join)
        self._held.callback(self._done.set)

    def _renew(self) -> None:
        while not self._done.wait(RENEW_S):
            self._each("extend")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._each("release")
        self._held.close()

    def _each(self, method: str) -> None:
        """Call it on every lock until Redis does not answer: what it does not hear ends with its lease."""
        try:
            for lock in self._locks:
                with suppress(redis_lock.NotAcquired):
                    getattr(lock, method)()
        except (redis.RedisError, OSError) as error:
            log.warning("quay_lock.unheard", error=str(error))
