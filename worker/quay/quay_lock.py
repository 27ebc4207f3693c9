"""The lock that a live Quay takes around a digest's object, for installations beside a Quay."""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from types import TracebackType

import redis
import redis_lock

from model.gc.tombstones import Tombstone
from worker import logs
from worker.broker.connection import connect

log = logs.logger("dredge.quay_lock")

# Newer versions of Quay wait three seconds for the lock and then push without it, unless this prefix shows
# that a collector holds it.
COLLECTOR = "gcworker:"
TIMEOUT_S = 2


class QuayLocks:
    """Holds `BLOB_DELETE_<digest>` in Quay's Redis for the digests of one request; nothing without a URL.

    Quay takes the same lock (python-redis-lock) before it erases and while a push links a blob.  The lease
    is as long as the fence, so the lock needs no renewal while the store may carry out the request.
    """

    def __init__(self, url: str, *, lease_ms: int) -> None:
        self.needed = bool(url)
        self._url = url
        self._lease_s = math.ceil(lease_ms / 1000)
        self._id = f"{COLLECTOR}{uuid.uuid4().hex}"
        self._held = ExitStack()
        self._locks: dict[int, redis_lock.Lock] = {}
        self._client: redis.Redis | None = None

    def __enter__(self) -> QuayLocks:
        return self

    def take(self, tombstones: Iterable[Tombstone]) -> tuple[list[Tombstone], list[Tombstone]]:
        """Try to lock every tombstone's digest, without waiting.  Returns (held, busy) tombstones.

        A tombstone without a digest needs no lock.  If Redis does not answer, all others count as busy, so
        that no object is erased without its lock.
        """
        client = connect(self._url, timeout_s=TIMEOUT_S, decode_responses=True)
        self._client = client
        self._held.callback(client.close)
        waiting = deque(tombstones)
        held: list[Tombstone] = []
        busy: list[Tombstone] = []
        try:
            while waiting:
                (held if self._try(client, waiting[0]) else busy).append(waiting[0])
                waiting.popleft()
        except (redis.RedisError, OSError):
            busy += waiting  # Only one attempt, because a timeout for each would use up the fence.
        return held, busy

    def _try(self, client: redis.Redis, tombstone: Tombstone) -> bool:
        if tombstone.digest is None:
            return True
        name = f"BLOB_DELETE_{tombstone.digest}"
        lock = redis_lock.Lock(client, name, expire=self._lease_s, id=self._id, strict=False)
        with suppress(redis_lock.AlreadyAcquired):  # The digest has two tombstones in this request.
            if not lock.acquire(blocking=False):
                return False
        self._locks[tombstone.id] = lock
        return True

    def verify(self, tombstones: Iterable[Tombstone]) -> tuple[list[Tombstone], list[Tombstone]]:
        """Check the locks again right before the request.  Returns (held, lost) tombstones.

        A flush of Redis, or a failover to a standby, loses locks.
        """
        wanted = list(tombstones)
        digests = sorted({tombstone.digest for tombstone in wanted if tombstone.digest})
        ours: set[str | None] = {None}
        if self._client is not None and digests:
            with suppress(redis.RedisError, OSError):
                owners = self._client.mget([f"lock:BLOB_DELETE_{digest}" for digest in digests])
                ours |= {digest for digest, owner in zip(digests, owners, strict=True) if owner == self._id}
        return [t for t in wanted if t.digest in ours], [t for t in wanted if t.digest not in ours]

    def keep(self, ids: Iterable[int]) -> None:
        """Keep these locks until their lease ends, because the store may still carry out the request."""
        for id in ids:
            self._locks.pop(id, None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the locks unless the block failed: then requests may have been sent."""
        try:
            for lock in self._locks.values() if error is None else ():
                with suppress(redis_lock.NotAcquired):
                    lock.release()
        except (redis.RedisError, OSError) as failed:
            log.warning("quay_lock.release_failed", error=str(failed))
        finally:
            self._held.close()
