"""From a URL to a cache: every scheme, a replica, and a Quay that must forget too."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from model.cache import DataModelCache, invalidation, keys
from model.cache.connect import connector
from model.cache.memory import MemoryBackend
from model.cache.open import open_cache
from model.errors import BadInput
from tests.model.cache.kinds import DIGEST, KINDS, OTHER_DIGEST, Loader, Notes
from tests.support.patience import eventually
from worker.local.embedded import Valkey
from worker.local.servers.valkey import valkey_binary

KEY = keys.repository_manifest(7, DIGEST)


def works(cache: DataModelCache) -> bool:
    """One load for two reads, and another after an invalidation."""
    loader = Loader()
    for _ in range(2):
        cache.retrieve(KEY, loader)
    once = loader.calls == 1 and cache.invalidate(KEY)
    cache.retrieve(KEY, loader)
    return once and loader.calls == 2


@pytest.mark.parametrize("url", ["http://host", "redis+tls://host", "memcached://host", "host:6379", ""])
def test_an_unknown_scheme_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadInput):
        open_cache(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://host",
        "redis+cluster://",
        "redis+cluster://host:port",
        "redis://host:port",
        "redis://h/?no_such=1",
    ],
)
def test_an_incomplete_url_is_refused_at_once(url: str) -> None:
    with pytest.raises(BadInput):
        open_cache(url)


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInput, match="repository_blob"):
        open_cache("memory://", ttls={"blobs": 5})


def test_opening_connects_to_nothing() -> None:
    for url in ("redis://192.0.2.1", "redis+cluster://192.0.2.1:7000", "redis+sentinel://192.0.2.1:1/main"):
        open_cache(url).close()


def test_none_loads_every_time_and_forgets_anything() -> None:
    cache, loader = open_cache("none://"), Loader()
    for kind in KINDS.values():
        assert cache.retrieve(kind.key, loader) == loader.value
        assert cache.retrieve(kind.key, loader) == loader.value
        assert cache.invalidate(kind.key)
    assert loader.calls == 18


def test_only_none_without_a_quay_has_nothing_to_invalidate() -> None:
    assert open_cache("none://").is_off
    for url, quay_url in (("memory://", ""), ("none://", "redis://192.0.2.1"), ("redis://192.0.2.1", "")):
        assert not open_cache(url, quay_url=quay_url).is_off


def test_a_unix_socket(place: Path) -> None:
    server = Socketed(place / "socketed")
    server.start()
    try:
        assert works(open_cache(f"unix://{place}/s.sock"))
    finally:
        server.stop()


class Socketed(Valkey):
    """Listens on a socket as well."""

    def command(self) -> list[str]:
        return [*super().command(), "--unixsocket", str(self.directory.parent / "s.sock")]


class Sentinel(Valkey):
    """Watches one master."""

    master_port = 0

    def command(self) -> list[str]:
        configuration = self.directory / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {self.master_port} 1\n"
        )
        return [valkey_binary(), str(configuration), "--sentinel"]


def test_sentinels_name_the_master(own: Valkey, place: Path) -> None:
    sentinel = Sentinel(place / "sentinel")
    sentinel.master_port = own.port
    sentinel.start()
    try:
        cache = open_cache(f"redis+sentinel://127.0.0.1:{sentinel.port}/main/1")
        assert works(cache)
        assert redis.Redis(port=own.port, db=1).exists(KEY.name)
    finally:
        sentinel.stop()


def test_credentials_and_options_of_a_sentinel_url_reach_the_client() -> None:
    client = connector("rediss+sentinel://user:p%40ss@a:1,b/main/3?ssl_cert_reqs=none", 0.2)()
    pool: Any = client.connection_pool  # type: ignore[union-attr]
    kwargs = pool.connection_kwargs
    assert (kwargs["username"], kwargs["password"], kwargs["db"]) == ("user", "p@ss", 3)
    assert kwargs["ssl_cert_reqs"] == "none"
    sentinels = [s.connection_pool.connection_kwargs for s in pool.sentinel_manager.sentinels]
    assert [(s["host"], s["port"]) for s in sentinels] == [("a", 1), ("b", 26379)]


@pytest.fixture
def replica(own: Valkey, place: Path) -> Iterator[Valkey]:
    server = Valkey(place / f"replica-{own.port}")
    server.start()
    redis.Redis(port=own.port).config_set("repl-diskless-sync-delay", 0)
    client = redis.Redis(port=server.port)
    client.replicaof("127.0.0.1", str(own.port))
    while client.info("replication")["master_link_status"] != "up":
        time.sleep(0.02)
    yield server
    server.stop()


def test_reads_go_to_the_replica_and_an_invalidation_reaches_it(own: Valkey, replica: Valkey) -> None:
    cache, page = open_cache(own.url, replica_url=replica.url), keys.active_tags(7)
    for key in (KEY, page):
        cache.retrieve(key, lambda: "old")
    time.sleep(0.1)
    before = _reads(replica)
    assert cache.retrieve(KEY, lambda: "new") == "old"
    assert cache.retrieve(page, lambda: "new") == "old"
    assert _reads(replica) > before
    for _ in range(20):
        assert cache.invalidate(KEY, page)
        now = Loader("now")
        assert cache.retrieve(KEY, now) == "now"
        assert cache.retrieve(page, now) == "now"
        assert now.calls == 2


def _reads(server: Valkey) -> int:
    stats = redis.Redis(port=server.port).info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("get", "mget"))


def test_without_its_replica_the_primary_answers(own: Valkey, replica: Valkey, notes: Notes) -> None:
    cache = open_cache(own.url, replica_url=replica.url, recorder=notes, timeout_s=0.2)
    cache.retrieve(KEY, Loader())
    replica.stop()
    loader = Loader()
    for _ in range(5):
        cache.retrieve(KEY, loader)
    assert loader.calls == 0


def test_beside_a_quay_ours_take_a_prefix_and_its_own_are_forgotten_too(valkey: str, own: Valkey) -> None:
    quay = redis.Redis(port=own.port)
    cache = open_cache(valkey, quay_url=own.url)
    cache.retrieve(KEY, Loader())
    assert {name.decode() for name in redis.Redis.from_url(valkey).scan_iter()} == {f"dredge:{KEY.name}"}
    gone = [
        KEY.name,
        f"security_report__{DIGEST}",
        f"manifest_referrers__7_{OTHER_DIGEST}",
        f"repo_blob__ns_repo_{DIGEST}_2",
        "repository_lookup_ns_repo",
        "repository_lookup_ns_repo_image",
    ]
    kept = [f"repo_blob__other_repo_{DIGEST}_2", "repository_lookup_ns_other", "catalog_page__(anon)_0_0"]
    for name in [*gone, *kept]:
        quay.set(name, "{}")
    quay.set("repo_active_tags_gen__7", "5")
    assert cache.invalidate(
        *invalidation.after_collection("ns", "repo", 7, [DIGEST], [OTHER_DIGEST], [DIGEST])
    )
    left = {name.decode() for name in quay.scan_iter()}
    assert left == {*kept, "repo_active_tags_gen__7"}
    assert quay.get("repo_active_tags_gen__7") == b"6"
    assert 0 < quay.pttl("repo_active_tags_gen__7") <= 240_000


def test_a_generation_of_quays_that_is_no_counter_is_deleted(valkey: str, own: Valkey) -> None:
    quay = redis.Redis(port=own.port)
    quay.set("repo_active_tags_gen__7", '"a-uuid"')
    assert open_cache(valkey, quay_url=own.url).invalidate(keys.active_tags(7))
    assert not quay.exists("repo_active_tags_gen__7")


def test_a_quay_whose_redis_is_away_costs_ours_nothing_and_is_told_later(valkey: str, own: Valkey) -> None:
    quay = redis.Redis(port=own.port)
    cache = open_cache(valkey, quay_url=own.url, timeout_s=0.1, pause_s=0.1)
    cache.retrieve(KEY, lambda: "old")
    quay.set(KEY.name, "{}")
    own.freeze()
    assert not cache.invalidate(KEY)
    assert cache.retrieve(KEY, lambda: "new") == "new"
    own.thaw()
    eventually(lambda: cache.invalidate(keys.geo_restrictions("any")))
    assert not quay.exists(KEY.name)


def test_memory_stays_within_its_bounds() -> None:
    backend = MemoryBackend(max_entries=10, max_bytes=1000)
    for number in range(100):
        backend.swap(f"k{number}", None, b"x" * 20, 60_000)
    assert [number for number in range(100) if backend.get(f"k{number}")] == list(range(90, 100))
    backend.get("k90")
    backend.swap("new", None, b"x", 60_000)
    assert backend.get("k90") and not backend.get("k91")
    backend.swap("big", None, b"x" * 990, 60_000)
    assert backend.get("big") and not backend.get("k90")
    backend.swap("too big", None, b"x" * 2000, 60_000)
    assert not backend.get("too big")


def test_a_large_invalidation_is_a_handful_of_round_trips(own: Valkey) -> None:
    cache = open_cache(own.url)
    digests = [f"sha256:{number:064x}" for number in range(1_000)]
    wanted = invalidation.after_collection("ns", "repo", 7, digests, digests[:300], digests)
    for key in wanted[::50]:
        cache.retrieve(key, lambda: 1)
    assert cache.invalidate(*wanted)
    assert redis.Redis(port=own.port).info("commandstats")["cmdstat_unlink"]["calls"] <= 6
    assert all(cache.retrieve(key, lambda: 2) == 2 for key in wanted[::50])
