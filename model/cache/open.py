"""Open the cache at a URL: `redis`, `rediss`, `unix`, sentinels, cluster, `memory` or `none`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from model.cache.backend import CacheConfig
from model.cache.base import DataModelCache
from model.cache.connect import connector
from model.cache.keys import KINDS
from model.cache.memory import MemoryBackend
from model.cache.none import NoBackend
from model.cache.quay import QuayCache
from model.cache.record import Recorder
from model.cache.redis import RedisBackend, RedisDataModelCache
from model.errors import BadInput

PREFIX_BESIDE_QUAY = "dredge:"


def open_cache(
    url: str,
    *,
    replica_url: str = "",
    quay_url: str = "",
    prefix: str = "",
    ttls: Mapping[str, float] | None = None,
    sizes: Mapping[str, int] | None = None,
    max_bytes: int = 1_000_000,
    timeout_s: float = 0.5,
    pause_s: float = 1.0,
    config: CacheConfig | None = None,
    recorder: Recorder | None = None,
) -> DataModelCache:
    """Return the cache at `url`.  It connects when it is first used.

    With `quay_url`, invalidations also delete the entries of a live Quay there. Dredge's own entries then
    have a prefix, because Quay cannot read them. Raises `BadInput` for an unknown scheme or kind.
    """
    _check_kinds({*(ttls or {}), *(sizes or {})})
    config = replace(
        config or CacheConfig(), ttls=dict(ttls or {}), sizes=dict(sizes or {}), max_bytes=max_bytes
    )
    quay_cache = None
    if quay_url:
        prefix = prefix or PREFIX_BESIDE_QUAY
        quay_cache = QuayCache(RedisBackend(connector(quay_url, timeout_s), pause_s=pause_s))
    scheme = url.partition(":")[0]
    if scheme == "memory":
        return DataModelCache(MemoryBackend(), config, recorder, quay_cache=quay_cache)
    if scheme == "none":
        return DataModelCache(NoBackend(), config, recorder, quay_cache=quay_cache)
    backend = RedisBackend(
        connector(url, timeout_s),
        prefix=prefix,
        replica=connector(replica_url, timeout_s) if replica_url else None,
        pause_s=pause_s,
        timeout_s=timeout_s,
    )
    return RedisDataModelCache(backend, config, recorder, quay_cache=quay_cache)


def _check_kinds(kinds: set[str]) -> None:
    if unknown := sorted(kinds - set(KINDS)):
        raise BadInput(f"no such kind of cache entry: {', '.join(unknown)} (there are {', '.join(KINDS)})")
