"""Read-through with leases, written once for every backend.

An entry is one of four things:

- a value: the header of its key, its generation, and the payload;
- a *lease* (`~generation:token`) of the one loader that may store a value there;
- a note (`!generation:`) that other callers shall not wait for the value;
- empty.

An invalidation deletes the entry, whatever it is. A loader replaces only its own lease by a value. So a
loader that read the database before an invalidation finds no lease, and never stores the old value.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from model.cache.backend import Backend, CacheConfig, CacheUnavailable, ForeignCache
from model.cache.generations import Generations, Place
from model.cache.keys import CacheKey
from model.cache.none import NoBackend
from model.cache.record import Recorder, Silence

log = logging.getLogger(__name__)
_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=True).encode

# How long other callers load a value themselves after one that could not be stored.
NO_WAIT_MS = 1_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.025


def is_not_none(value: object) -> bool:
    """Cache every value but None."""
    return value is not None


def always(value: object) -> bool:
    """Cache every value, including None."""
    return True


class DataModelCache:
    """The cache that a registry reads before the database.  An error of the cache counts as a miss."""

    def __init__(
        self,
        backend: Backend,
        config: CacheConfig | None = None,
        recorder: Recorder | None = None,
        *,
        quay_cache: ForeignCache | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._backend = backend
        self._config = config or CacheConfig()
        self._record = (recorder or Silence()).record
        self._quay_cache = quay_cache
        self._clock = clock
        self._sleep = sleep
        self._generations = Generations(backend, self._config)

    def retrieve(
        self,
        key: CacheKey,
        loader: Callable[[], Any],
        should_cache: Callable[[Any], bool] = is_not_none,
        lifetime: Callable[[Any], float] | None = None,
    ) -> Any:
        """Return the entry's value.  After a miss, call `loader`, and store its value if `should_cache`.

        One loader at a time holds the lease of a key. Other callers wait at most `wait_s`, then load without
        storing. `lifetime` returns the seconds for which a loaded value may be kept, at most the TTL of the
        kind. Raises the exceptions of the loader, and none of the cache.
        """
        started = self._clock()
        try:
            if key.group is None:
                name, header, generation = key.name, key.header, b""
                raw = self._backend.get(name)
            else:
                name, header, generation, raw = self._generations.look(key, key.group)
        except CacheUnavailable as error:
            self._failed(key.kind, error, started)
            return self._load_without_lease(key.kind, loader, started)
        if raw is not None and raw.startswith(header):
            try:
                value = _decode(raw.decode())[-1]
            except ValueError:
                self._record(key.kind, "error", 0.0)
            else:
                self._record(key.kind, "hit", self._clock() - started)
                return value
        place = Place(key.kind, name, header, generation)
        return self._miss(place, raw, loader, should_cache, lifetime, started)

    def invalidate(self, *keys: CacheKey) -> bool:
        """Delete the entries and the leases of their loaders in one pipeline.  Never raises.  Idempotent.

        Returns False if the server is unavailable. Then this process keeps the names and deletes the entries
        before it reads the cache again. The caller should repeat its event, too.
        """
        started = self._clock()
        names = list(dict.fromkeys([name for key in keys for name in key.forgets]))
        if not names:
            return True
        delivered = self._backend.forget(names)
        if self._quay_cache is not None:
            delivered = self._quay_cache.forget_keys(keys) and delivered
        self._generations.drop(names)
        counts = Counter([key.kind for key in keys])
        each = (self._clock() - started) / len(keys)
        for kind, count in counts.items():
            self._record(kind, "invalidate" if delivered else "undelivered", each * count, count)
        return delivered

    @property
    def is_off(self) -> bool:
        """Return whether no entry is ever stored, so that none has to be invalidated."""
        return isinstance(self._backend, NoBackend) and self._quay_cache is None

    def close(self) -> None:
        """Close the connections.  The next use opens new ones."""
        self._backend.close()
        if self._quay_cache is not None:
            self._quay_cache.close()

    def _miss(
        self,
        place: Place,
        raw: bytes | None,
        loader: Callable[[], Any],
        should_cache: Callable[[Any], bool],
        lifetime: Callable[[Any], float] | None,
        started: float,
    ) -> Any:
        lease = b"~" + place.generation + b":"
        mine = lease + secrets.token_hex(8).encode()
        try:
            found = self._acquire(place, raw, lease, mine)
        except CacheUnavailable as error:
            self._failed(place.kind, error, started)
            found = None
        if found is None:
            return self._load_without_lease(place.kind, loader, started)
        if found is not mine:
            return self._hit(place, found, loader, started)
        try:
            value = loader()
            self._record(place.kind, "miss", self._clock() - started)
            ttl_ms = self._ttl_ms(place.kind, value, should_cache, lifetime)
        except BaseException:
            self._settle(place, mine, b"", 0)
            raise
        self._store(place, mine, value, ttl_ms)
        return value

    def _ttl_ms(
        self,
        kind: str,
        value: Any,
        should_cache: Callable[[Any], bool],
        lifetime: Callable[[Any], float] | None,
    ) -> int:
        if not should_cache(value):
            return 0
        ttl_ms = self._config.ttl_ms(kind)
        return ttl_ms if lifetime is None else min(ttl_ms, int(lifetime(value) * 1000))

    def _acquire(self, place: Place, raw: bytes | None, lease: bytes, mine: bytes) -> bytes | None:
        """Return `mine` if this caller got the lease, a value if another stored one, else None."""
        deadline = self._clock() + self._config.wait_s
        pause = _FIRST_PAUSE_S
        lease_ms = max(1, int(self._config.lease_s * 1000))
        if raw is None or not raw.startswith((lease, b"!" + place.generation + b":")):
            # The entry is empty, belongs to another key of the same name, or to an older generation.
            raw = self._backend.swap(place.name, raw, mine, lease_ms)
            if raw is None:
                return mine
        while True:
            if raw is None:
                raw = self._backend.swap(place.name, None, mine, lease_ms)
                if raw is None:
                    return mine
            if raw.startswith(place.header):
                return raw
            if not raw.startswith(lease) or self._clock() >= deadline:
                return None
            self._sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_S)
            raw = self._backend.get(place.name, fresh=True)

    def _hit(self, place: Place, raw: bytes, loader: Callable[[], Any], started: float) -> Any:
        try:
            value = _decode(raw.decode())[-1]
        except ValueError:
            return self._load_without_lease(place.kind, loader, started)
        self._record(place.kind, "hit", self._clock() - started)
        return value

    def _load_without_lease(self, kind: str, loader: Callable[[], Any], started: float) -> Any:
        value = loader()
        self._record(kind, "bypass", self._clock() - started)
        return value

    def _store(self, place: Place, mine: bytes, value: Any, ttl_ms: int) -> None:
        kind = place.kind
        started = self._clock()
        if ttl_ms <= 0:
            self._settle(place, mine, b"!" + place.generation + b":", NO_WAIT_MS)
            self._record(kind, "declined", 0.0)
            return
        try:
            stored = place.header + _encode(value).encode() + b"]"
        except (TypeError, ValueError):
            log.exception("cache.value.unserialisable", extra={"kind": kind})
            self._settle(place, mine, b"", 0)
            self._record(kind, "error", 0.0)
            return
        if len(stored) > self._config.sizes.get(kind, self._config.max_bytes):
            self._settle(place, mine, b"!" + place.generation + b":", NO_WAIT_MS)
            self._record(kind, "oversize", 0.0)
            return
        settled = self._settle(place, mine, stored, ttl_ms)
        if settled is not None:
            self._record(kind, "store" if settled else "revoked", self._clock() - started)

    def _settle(self, place: Place, mine: bytes, value: bytes, ttl_ms: int) -> bool | None:
        started = self._clock()
        try:
            return self._backend.settle(place.name, mine, value, ttl_ms)
        except CacheUnavailable as error:
            self._failed(place.kind, error, started)
            return None

    def _failed(self, kind: str, error: CacheUnavailable, started: float) -> None:
        if error.asked:
            self._record(kind, "error", self._clock() - started)
