"""Measure the cache: a hit against a bare GET, a miss, an invalidation, a stampede, an outage."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis

from bench.figure import Figure, Options
from model.cache import CacheConfig, CacheKey, DataModelCache, invalidation, keys
from model.cache.open import open_cache
from worker.local.embedded import EmbeddedServers, Valkey

_DIGEST = "sha256:" + "ab" * 32
_CALLS = 200
_BLOBS_PER_MANIFEST = 5
_TIMEOUT_S = 0.2

# The size of a manifest of a six-layer image: about 2 KB, mostly JSON inside a JSON text.
_MANIFEST = {
    "id": 12345,
    "digest": _DIGEST,
    "media_type": "application/vnd.oci.image.manifest.v1+json",
    "text": json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": _DIGEST,
                "size": 7023,
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": f"sha256:{layer:064x}",
                    "size": 32_654_000 + layer,
                }
                for layer in range(6)
            ],
        },
        indent=2,
    ),
    "subject": None,
    "artifact_type": None,
}


def run(options: Options) -> Iterator[Figure]:
    """Yield all figures, on one embedded Valkey; `manifests` bounds the collection that is invalidated."""
    with EmbeddedServers(postgres=False) as servers:
        url = servers.cache_url
        yield from _hits(url, options.seconds)
        yield from _misses(url)
        yield from _collection(url, min(options.manifests, 1_000))
        yield from _stampede(url)
        assert servers.valkey is not None
        yield from _outage(url, servers.valkey)


def _figure(figure: str, value: float, unit: str, aim: str = "") -> Figure:
    return Figure("cache", figure, value, unit, aim)


def _timed(call: Callable[[], Any], calls: int = _CALLS) -> float:
    """Return the microseconds of one call."""
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls * 1e6


def _hits(url: str, seconds: float) -> Iterator[Figure]:
    """Measure all kinds in turns, so that other load affects them equally.  Yields medians of the ratios."""
    cache, client = open_cache(url), redis.Redis.from_url(url, socket_timeout=0.5)
    client.set("bare", json.dumps(_MANIFEST))

    def hit(build: Callable[[], CacheKey]) -> Callable[[], Any]:
        return lambda: cache.retrieve(build(), lambda: _MANIFEST)

    contenders = {
        "manifest": hit(lambda: keys.repository_manifest(7, _DIGEST)),
        "blob": hit(lambda: keys.repository_blob("namespace", "repository", _DIGEST)),
        "page of tags": hit(lambda: keys.active_tags(7, None, 50)),
    }
    bare: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in contenders}
    deadline = time.monotonic() + min(seconds, 10)
    while time.monotonic() < deadline or len(bare) < 5:
        bare.append(_timed(lambda: json.loads(client.get("bare") or b"")))
        for name, call in contenders.items():
            times[name].append(_timed(call))
    yield _figure("bare GET and json.loads", statistics.median(bare), "µs")
    for name, spent in times.items():
        yield _figure(f"hit, {name}", statistics.median(spent), "µs")
        ratio = statistics.median(one / other for one, other in zip(spent, bare, strict=True))
        yield _figure(f"hit, {name}, to bare", ratio, "×", "at most 1.3")
    cache.close()


def _misses(url: str) -> Iterator[Figure]:
    cache = open_cache(url)
    numbers = iter(range(1_000, 10_000_000))

    def miss() -> None:
        cache.retrieve(keys.repository_manifest(next(numbers), _DIGEST), lambda: _MANIFEST)

    yield _figure("miss without its load", _timed(miss, 1_000), "µs")
    with _RoundTrips(cache) as trips:
        miss()
    yield _figure("round trips of a miss", trips.count, "", "look, lease, store")
    cache.close()


class _RoundTrips:
    """Counts the round trips of the cache's client."""

    def __init__(self, cache: DataModelCache) -> None:
        self.count = 0
        client: Any = cache._backend._open()  # type: ignore[attr-defined]
        self._kind = client.connection_pool.connection_class

    def __enter__(self) -> _RoundTrips:
        self._original = self._kind.send_packed_command

        def counted(connection: Any, *args: Any, **named: Any) -> Any:
            self.count += 1
            return self._original(connection, *args, **named)

        self._kind.send_packed_command = counted
        return self

    def __exit__(self, *_: object) -> None:
        self._kind.send_packed_command = self._original


def _collection(url: str, manifests: int) -> Iterator[Figure]:
    """Cache all entries of a collection's manifests, then invalidate them."""
    cache = open_cache(url)
    digests = [f"sha256:{number:064x}" for number in range(manifests)]
    blobs = [f"sha256:{number:064x}" for number in range(10**6, 10**6 + manifests * _BLOBS_PER_MANIFEST)]

    def wanted() -> tuple[CacheKey, ...]:
        return invalidation.after_collection("namespace", "repository", 7, digests, digests[::3], blobs)

    for key in wanted():
        cache.retrieve(key, lambda: _MANIFEST)
    with _RoundTrips(cache) as trips:
        started = time.perf_counter()
        delivered = cache.invalidate(*wanted())
        spent = time.perf_counter() - started
    if not delivered:
        raise RuntimeError("the invalidation was not delivered")
    yield _figure(f"invalidation of {manifests} manifests, entries", len(wanted()), "")
    yield _figure(f"invalidation of {manifests} manifests", spent * 1000, "ms")
    yield _figure(f"invalidation of {manifests} manifests, round trips", trips.count, "", "a handful")
    cache.close()


def _stampede(url: str) -> Iterator[Figure]:
    """Read one key from fifty readers at once, each with its own cache; loading the value takes 50 ms."""
    loads: list[float] = []

    def load() -> Any:
        loads.append(time.perf_counter())
        time.sleep(0.05)
        return _MANIFEST

    together = threading.Barrier(51)

    def read() -> None:
        cache = open_cache(url, config=CacheConfig(wait_s=5))
        together.wait()
        cache.retrieve(keys.security_report(_DIGEST), load)
        cache.close()

    readers = [threading.Thread(target=read) for _ in range(50)]
    for reader in readers:
        reader.start()
    together.wait()
    started = time.perf_counter()
    for reader in readers:
        reader.join()
    yield _figure("loads of 50 concurrent misses", len(loads), "", "1")
    yield _figure("time of 50 concurrent misses, load 50 ms", (time.perf_counter() - started) * 1000, "ms")


def _outage(url: str, server: Valkey) -> Iterator[Figure]:
    cache = open_cache(url, timeout_s=_TIMEOUT_S, pause_s=30)
    key = keys.repository_manifest(7, _DIGEST)
    cache.retrieve(key, lambda: _MANIFEST)
    server.freeze()
    try:
        spent = _timed(lambda: cache.retrieve(key, lambda: _MANIFEST), 1_000)  # µs each: ms of them all
    finally:
        server.thaw()
    aim = f"one timeout, {_TIMEOUT_S * 1000:.0f}"
    yield _figure("1000 reads with a frozen Redis", spent, "ms", aim)
    cache.close()
