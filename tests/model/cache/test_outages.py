"""Redis stopped, frozen, restarted, read-only or full: every read is answered, and nothing stale returns."""

from __future__ import annotations

import threading
import time

import pytest
import redis

from model.cache import DataModelCache, keys
from model.cache.breaker import Breaker
from model.cache.open import open_cache
from tests.model.cache.kinds import DIGEST, KINDS, Kind, Loader, Notes, stored_bytes
from tests.support.patience import eventually
from worker.local.embedded import Valkey, free_port

KEY = keys.repository_manifest(7, DIGEST)
TIMEOUT_S = 0.1


def opened(server: Valkey, notes: Notes, pause_s: float = 0.1) -> DataModelCache:
    return open_cache(server.url, recorder=notes, timeout_s=TIMEOUT_S, pause_s=pause_s)


def until_served(cache: DataModelCache, key: keys.CacheKey) -> None:
    """Read until the value comes from the cache again."""

    def served() -> bool:
        loader = Loader()
        cache.retrieve(key, loader)
        return loader.calls == 0

    eventually(served)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_redis_that_is_down_is_a_miss(kind: Kind, notes: Notes) -> None:
    cache, loader = open_cache(f"redis://127.0.0.1:{free_port()}", recorder=notes), Loader()
    for _ in range(100):
        assert cache.retrieve(kind.key, loader) == loader.value
    assert (loader.calls, notes.of("error")) == (100, 1)
    assert not cache.invalidate(kind.key)
    assert notes.of("undelivered") == 1


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_a_frozen_redis_costs_one_timeout(kind: Kind, own: Valkey, notes: Notes) -> None:
    cache, loader = opened(own, notes, pause_s=60), Loader()
    cache.retrieve(kind.key, loader)
    own.freeze()
    for _ in range(100):
        assert cache.retrieve(kind.key, loader) == loader.value
    assert not cache.invalidate(kind.key)
    assert notes.of("error") == 1


def test_a_thawed_redis_is_used_again_without_a_restart(own: Valkey, notes: Notes) -> None:
    cache = opened(own, notes)
    cache.retrieve(KEY, Loader())
    own.freeze()
    cache.retrieve(KEY, Loader())
    own.thaw()
    until_served(cache, KEY)


def test_a_restarted_redis_is_used_again_at_once(own: Valkey, notes: Notes) -> None:
    cache = opened(own, notes)
    cache.retrieve(KEY, Loader())
    own.restart()
    cache.retrieve(KEY, Loader())
    assert notes.of("error") == 0
    assert notes.of("miss") == 2


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_what_could_not_be_forgotten_is_forgotten_before_anything_is_served(
    kind: Kind, own: Valkey, notes: Notes
) -> None:
    cache, other = opened(own, notes), opened(own, Notes())
    cache.retrieve(kind.key, lambda: "old")
    own.freeze()
    assert not cache.invalidate(kind.key)
    own.thaw()
    assert cache.retrieve(kind.key, lambda: "new") == "new"

    def paid() -> bool:
        cache.retrieve(kind.sibling, lambda: "any")  # the first answered probe pays what is owed
        return bool(other.retrieve(kind.key, lambda: "new") != "old")

    eventually(paid)


def test_a_loader_whose_redis_froze_in_between_still_answers(own: Valkey, notes: Notes) -> None:
    cache = opened(own, notes, pause_s=60)
    assert cache.retrieve(KEY, Loader("value", before=own.freeze)) == "value"
    assert notes.of("error") == 1


def test_a_store_that_arrives_after_the_thaw_is_still_checked(own: Valkey, notes: Notes) -> None:
    cache, other = opened(own, notes), opened(own, Notes())
    cache.retrieve(KEY, Loader("old", before=own.freeze))  # its store waits in the frozen server's socket
    own.thaw()
    eventually(lambda: other.invalidate(KEY))
    assert other.retrieve(KEY, lambda: "new") == "new"
    time.sleep(0.05)
    assert other.retrieve(KEY, lambda: "newer") in ("new", "newer")


def test_a_read_only_redis_refuses_the_invalidation_and_serves_nothing_to_its_owner(
    own: Valkey, notes: Notes
) -> None:
    cache = opened(own, notes)
    cache.retrieve(KEY, lambda: "old")
    admin = redis.Redis(port=own.port)
    admin.replicaof("127.0.0.1", free_port())
    try:
        assert not cache.invalidate(KEY)
        assert cache.retrieve(KEY, lambda: "new") == "new"
    finally:
        admin.replicaof("NO", "ONE")
    until_served(cache, KEY)
    assert cache.retrieve(KEY, lambda: "never") != "old"


def test_a_full_redis_still_serves_and_forgets(own: Valkey, notes: Notes) -> None:
    cache = opened(own, notes)
    cache.retrieve(KEY, lambda: "old")
    admin = redis.Redis(port=own.port)
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("maxmemory", "1kb")
    other = Loader()
    for _ in range(3):
        cache.retrieve(keys.security_report(DIGEST), other)
    assert other.calls == 3
    assert cache.retrieve(KEY, lambda: "new") == "old"
    assert cache.invalidate(KEY)
    assert cache.retrieve(KEY, lambda: "new") == "new"


def test_a_key_of_another_type_is_a_miss(own: Valkey, notes: Notes) -> None:
    redis.Redis(port=own.port).rpush(KEY.name, "x")
    cache = opened(own, notes)
    assert cache.retrieve(KEY, Loader("value")) == "value"
    assert cache.invalidate(KEY)
    cache.retrieve(KEY, Loader("value"))
    assert stored_bytes(cache, KEY) is not None


def test_only_one_caller_probes_and_the_pause_grows() -> None:
    now = 0.0
    breaker = Breaker(1.0, clock=lambda: now)
    breaker.fail()
    assert (breaker.open, breaker.may_probe()) == (True, False)
    now = 1.0
    assert breaker.may_probe() and not breaker.may_probe()
    breaker.fail()
    now = 2.5
    assert not breaker.may_probe()
    now = 3.0
    assert breaker.may_probe()
    breaker.close()
    assert not breaker.open
    breaker.fail()
    now = 4.0
    assert breaker.may_probe()


def test_threads_share_one_probe_of_a_frozen_redis(own: Valkey, notes: Notes) -> None:
    cache = opened(own, notes, pause_s=0.05)
    cache.retrieve(KEY, Loader())
    own.freeze()
    cache.retrieve(KEY, Loader())
    errors = notes.of("error")
    time.sleep(0.06)
    threads = [threading.Thread(target=cache.retrieve, args=(KEY, Loader())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notes.of("error") == errors + 1
