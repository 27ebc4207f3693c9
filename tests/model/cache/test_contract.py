"""Every kind on every backend: hit, miss, expiry, invalidation, and values that are not ours."""

from __future__ import annotations

import threading
import time

import pytest

from model.cache import CacheConfig, always
from tests.model.cache.conftest import OpenCache
from tests.model.cache.kinds import KINDS, Kind, Loader, Notes, name_of, put, stored_bytes
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def test_a_miss_loads_and_a_hit_does_not(kind: Kind, opened: OpenCache, notes: Notes) -> None:
    cache, loader = opened(), Loader()
    assert cache.retrieve(kind.key, loader) == loader.value
    assert cache.retrieve(kind.key, loader) == loader.value
    assert loader.calls == 1
    assert notes.seen == {(kind.key.kind, what): 1 for what in ("miss", "store", "hit")}


def test_another_process_sees_what_one_stored(kind: Kind, opened: OpenCache) -> None:
    first, second, loader = opened(), opened(), Loader()
    if first._backend.__class__.__name__ == "MemoryBackend":
        second._backend = first._backend
        second._generations._backend = first._backend
    first.retrieve(kind.key, loader)
    assert second.retrieve(kind.key, loader) == loader.value
    assert loader.calls == 1
    assert second.invalidate(kind.key)
    first.retrieve(kind.key, loader)
    assert loader.calls == 2


def test_an_entry_ends_with_its_ttl(kind: Kind, opened: OpenCache) -> None:
    cache, loader = opened(ttls={kind.key.kind: 0.06}), Loader()
    cache.retrieve(kind.key, loader)
    cache.retrieve(kind.key, loader)
    assert loader.calls == 1
    time.sleep(0.08)
    cache.retrieve(kind.key, loader)
    assert loader.calls == 2


def test_an_invalidated_entry_is_loaded_again_and_its_sibling_is_not(
    kind: Kind, opened: OpenCache, notes: Notes
) -> None:
    cache, loader, sibling = opened(), Loader(), Loader("sibling")
    cache.retrieve(kind.key, loader)
    cache.retrieve(kind.sibling, sibling)
    assert cache.invalidate(kind.key)
    loader.value = {"new": 1}
    assert cache.retrieve(kind.key, loader) == {"new": 1}
    assert cache.retrieve(kind.sibling, sibling) == "sibling"
    assert (loader.calls, sibling.calls) == (2, 1)
    assert notes.seen[kind.key.kind, "invalidate"] == 1


def test_a_value_of_another_version_is_a_miss(kind: Kind, opened: OpenCache) -> None:
    cache, loader = opened(), Loader()
    cache.retrieve(kind.key, loader)
    raw = stored_bytes(cache, kind.key)
    assert raw is not None and raw.startswith(b"[1,")
    put(cache, kind.key, b"[2," + raw[3:])
    cache.retrieve(kind.key, loader)
    cache.retrieve(kind.key, loader)
    assert loader.calls == 2


@pytest.mark.parametrize("damage", ["cut", "tail", "text", "empty", "binary", "list"])
def test_broken_json_is_a_miss_and_is_replaced(kind: Kind, damage: str, opened: OpenCache) -> None:
    cache, loader = opened(), Loader()
    cache.retrieve(kind.key, loader)
    raw = stored_bytes(cache, kind.key)
    assert raw is not None
    broken = {
        "cut": raw[:-1],
        "tail": raw + b"]",
        "text": b"not JSON",
        "empty": b"",
        "binary": raw[:-2] + b"\xff\xfe]",
        "list": b"[]",
    }[damage]
    put(cache, kind.key, broken)
    assert cache.retrieve(kind.key, loader) == loader.value
    assert cache.retrieve(kind.key, loader) == loader.value
    assert loader.calls == 2


def test_a_value_above_the_limit_is_not_stored(kind: Kind, opened: OpenCache, notes: Notes) -> None:
    cache, loader = opened(sizes={kind.key.kind: 300}), Loader("x" * 400)
    for _ in range(3):
        assert cache.retrieve(kind.key, loader) == loader.value
    assert loader.calls == 3
    assert notes.of("oversize") == 1
    assert notes.of("store") == 0


def test_a_negative_answer_is_stored_only_when_asked_for(kind: Kind, opened: OpenCache) -> None:
    cache, loader = opened(), Loader(None)
    assert cache.retrieve(kind.key, loader) is None
    assert cache.retrieve(kind.key, loader) is None
    assert loader.calls == 2
    cache.invalidate(kind.key)
    assert cache.retrieve(kind.key, loader, should_cache=always) is None
    assert cache.retrieve(kind.key, loader, should_cache=always) is None
    assert loader.calls == 3


def test_the_loaders_exception_passes_and_leaves_no_lease(kind: Kind, opened: OpenCache) -> None:
    cache, loader = opened(CacheConfig(wait_s=3600)), Loader()

    def broken() -> object:
        raise LookupError("database")

    with pytest.raises(LookupError):
        cache.retrieve(kind.key, broken)
    assert cache.retrieve(kind.key, loader) == loader.value


def test_a_loader_that_read_before_the_invalidation_stores_nothing(
    kind: Kind, opened: OpenCache, notes: Notes
) -> None:
    cache, fresh = opened(), Loader("after")
    stale = Loader("before", before=lambda: cache.invalidate(kind.key))
    assert cache.retrieve(kind.key, stale) == "before"
    assert cache.retrieve(kind.key, fresh) == "after"
    assert cache.retrieve(kind.key, fresh) == "after"
    assert fresh.calls == 1


def test_fifty_misses_load_once(kind: Kind, opened: OpenCache) -> None:
    cache = opened(CacheConfig(wait_s=PATIENCE_S, lease_s=PATIENCE_S))
    loader = Loader(before=lambda: time.sleep(0.02))
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(cache.retrieve(kind.key, loader))) for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loader.calls == 1
    assert answers == [loader.value] * 50


def test_the_entry_is_where_the_table_says(kind: Kind, opened: OpenCache) -> None:
    cache = opened()
    cache.retrieve(kind.key, Loader())
    name = name_of(cache, kind.key)
    assert (stored_bytes(cache, kind.key) or b"").startswith(kind.key.header)
    assert name.startswith(kind.key.name)
