"""The cache in Redis or Valkey: single server, sentinels or cluster, behind a circuit breaker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.exceptions import NoScriptError, ReadOnlyError, RedisClusterException, RedisError, ResponseError

from model.cache.backend import CacheUnavailable
from model.cache.base import DataModelCache
from model.cache.breaker import Breaker
from model.cache.lease import SETTLE, SWAP, Script

log = logging.getLogger(__name__)

_FAILURES = (RedisError, RedisClusterException, OSError)
_NAMES_PER_COMMAND = 1_000
# A pipeline is small enough that a server under load answers within the timeout.
_NAMES_PER_PIPELINE = 8_000
_MOST_OWED = 200_000

Connect = Callable[[], "redis.Redis | redis.RedisCluster"]


class RedisBackend:
    """Entries whose names begin with `prefix`.  A failed or late command opens the breaker.

    Entries that could not be deleted are owed: they are deleted before anything is read again.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        prefix: str = "",
        replica: Connect | None = None,
        pause_s: float = 1.0,
        timeout_s: float = 0.5,
    ) -> None:
        self._connect = connect
        self._prefix = prefix
        self._client: Any = None
        self._breaker = Breaker(pause_s)
        self._replica = RedisBackend(replica, prefix=prefix, pause_s=pause_s) if replica else None
        self._wait_ms = int(timeout_s * 500)
        self._owed: dict[str, int] = {}
        self._lock = threading.Lock()

    def get(self, name: str, fresh: bool = False) -> bytes | None:
        """Send one GET, to the replica if there is one and `fresh` is False, else to the server."""
        if self._replica is not None and not fresh and not self._breaker.open:
            try:
                return self._replica.get(name)
            except CacheUnavailable:
                pass
        if self._breaker.open:
            self._probe()
        try:
            return (self._client or self._open()).get(self._prefix + name)  # type: ignore[no-any-return]
        except _FAILURES as error:
            raise self._failure(error) from error

    def get_both(self, name: str, other: str) -> tuple[bytes | None, bytes | None]:
        """Send one MGET, or in a cluster, where the two may be on different nodes, a pipeline."""
        if self._replica is not None and not self._breaker.open:
            try:
                return self._replica.get_both(name, other)
            except CacheUnavailable:
                pass
        if self._breaker.open:
            self._probe()
        names = (self._prefix + name, self._prefix + other)
        try:
            client: Any = self._client or self._open()
            if type(client) is redis.RedisCluster:
                found = self._pipeline(client).get(names[0]).get(names[1]).execute()
            else:
                found = client.execute_command("MGET", *names)
            return found[0], found[1]
        except _FAILURES as error:
            raise self._failure(error) from error

    def swap(self, name: str, seen: bytes | None, value: bytes, ttl_ms: int) -> bytes | None:
        with self._guarded() as client:
            return self._run(client, SWAP, name, seen or b"", value, ttl_ms)  # type: ignore[no-any-return]

    def settle(self, name: str, mine: bytes, value: bytes, ttl_ms: int) -> bool:
        with self._guarded() as client:
            return bool(self._run(client, SETTLE, name, mine, value, ttl_ms))

    def forget(self, names: Sequence[str], bump: Mapping[str, int] | None = None) -> bool:
        """Delete `names`.  Increase each counter in `bump` by one, with its value as TTL in milliseconds."""
        wanted = dict.fromkeys(names, 0)
        wanted.update(bump or {})
        try:
            with self._guarded() as client:
                self._deliver(client, wanted)
        except CacheUnavailable:
            self._owe(wanted)
            return False
        return True

    def delete(self, names: Sequence[str]) -> None:
        """Delete the entries as `forget` does, but raise `CacheUnavailable` instead of owing them."""
        with self._guarded() as client:
            self._deliver(client, dict.fromkeys(names, 0))

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
        if self._replica is not None:
            self._replica.close()

    def _open(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    @contextmanager
    def _guarded(self) -> Iterator[Any]:
        if self._breaker.open:
            self._probe()
        try:
            yield self._client or self._open()
        except _FAILURES as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> CacheUnavailable:
        """Open the breaker, unless the server answered and only refused this command."""
        if not isinstance(error, ResponseError):
            if not self._breaker.open:
                log.warning("cache.unavailable", extra={"facts": {"error": type(error).__name__}})
            self._breaker.fail()
        return CacheUnavailable(asked=True)

    def _probe(self) -> None:
        """Let one caller try the server after the pause, and delete what is owed before anything else."""
        if not self._breaker.may_probe():
            raise CacheUnavailable(asked=False)
        try:
            client = self._client or self._open()
            client.ping()
            while True:
                with self._lock:
                    owed = dict(self._owed)
                if not owed:
                    break
                self._deliver(client, owed)
                with self._lock:
                    for name in owed:
                        self._owed.pop(name, None)
        except _FAILURES as error:
            self._breaker.fail()
            raise CacheUnavailable(asked=True) from error
        log.info("cache.available")
        self._breaker.close()

    def _owe(self, wanted: Mapping[str, int]) -> None:
        with self._lock:
            self._owed.update(wanted)
            while len(self._owed) > _MOST_OWED:
                # The oldest names are dropped: their entries have expired by now.
                self._owed.pop(next(iter(self._owed)))
        # A wrong entry is worse than no cache, so nothing is read until the owed entries are deleted.
        self._breaker.fail()

    def _deliver(self, client: Any, wanted: Mapping[str, int]) -> None:
        """Delete the entries in a few pipelines.  When it returns, a replica has deleted them, too."""
        doomed = [self._prefix + name for name, keep_ms in wanted.items() if not keep_ms]
        clustered = type(client) is redis.RedisCluster
        # In a cluster the names of one command must be on one node.
        step = 1 if clustered else _NAMES_PER_COMMAND
        for first in range(0, len(doomed), _NAMES_PER_PIPELINE):
            some = doomed[first : first + _NAMES_PER_PIPELINE]
            pipe = self._pipeline(client)
            for start in range(0, len(some), step):
                pipe.unlink(*some[start : start + step])
            if self._replica is not None and not clustered:
                pipe.execute_command("WAIT", 1, self._wait_ms)
            pipe.execute()
        counters = {self._prefix + name: keep_ms for name, keep_ms in wanted.items() if keep_ms}
        if counters:
            self._count_on(client, counters)

    def _count_on(self, client: Any, counters: Mapping[str, int]) -> None:
        pipe = self._pipeline(client)
        for name, keep_ms in counters.items():
            pipe.incr(name).pexpire(name, keep_ms)
        answers = pipe.execute(raise_on_error=False)[::2]
        for name, answer in zip(counters, answers, strict=True):
            if isinstance(answer, ReadOnlyError) or not isinstance(answer, (int, ResponseError)):
                raise answer
            if isinstance(answer, ResponseError):
                client.unlink(name)  # The entry is no counter; deleting it has the same effect.

    def _pipeline(self, client: Any) -> Any:
        options = {} if type(client) is redis.RedisCluster else {"transaction": False}
        return client.pipeline(**options)

    def _run(self, client: Any, script: Script, name: str, *values: object) -> Any:
        try:
            return client.evalsha(script.sha, 1, self._prefix + name, *values)
        except NoScriptError:
            return client.eval(script.source, 1, self._prefix + name, *values)


class RedisDataModelCache(DataModelCache):
    """The data-model cache on a `RedisBackend`."""
