"""Who may load, who may store, and how long anybody waits."""

from __future__ import annotations

import threading
import time

import pytest

from model.cache import CacheConfig, keys
from tests.model.cache.conftest import OpenCache
from tests.model.cache.kinds import DIGEST, Loader, Notes, backend_of, stored_bytes
from tests.support.patience import PATIENCE_S, eventually

KEY = keys.repository_manifest(7, DIGEST)
PAGE = keys.active_tags(7)


class Running:
    """A read in a thread of its own, whose loader waits until it is released."""

    def __init__(self, cache: object, key: keys.CacheKey, value: object) -> None:
        self.loading, self.go = threading.Event(), threading.Event()
        self.answer: object = None

        def load() -> object:
            self.loading.set()
            assert self.go.wait(PATIENCE_S)
            return value

        def read() -> None:
            self.answer = cache.retrieve(key, load)  # type: ignore[attr-defined]

        self._thread = threading.Thread(target=read)
        self._thread.start()
        assert self.loading.wait(PATIENCE_S)

    def finish(self) -> object:
        """Let the loader return; the read's answer."""
        self.go.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.answer


@pytest.mark.parametrize("key", [KEY, PAGE, keys.manifest_referrers(7, DIGEST, "x/y")], ids=lambda k: k.kind)
def test_a_slow_loader_cannot_put_back_what_was_deleted(
    key: keys.CacheKey, opened: OpenCache, notes: Notes
) -> None:
    cache = opened()
    slow = Running(cache, key, "before")
    assert cache.invalidate(key)
    assert cache.retrieve(key, lambda: "after") == "after"
    assert slow.finish() == "before"
    assert cache.retrieve(key, lambda: "reloaded") == "after"


def test_a_store_after_the_invalidation_is_counted_as_revoked(opened: OpenCache, notes: Notes) -> None:
    cache = opened()
    slow = Running(cache, KEY, "before")
    cache.invalidate(KEY)
    slow.finish()
    assert notes.of("revoked") == 1
    assert notes.of("store") == 0
    assert stored_bytes(cache, KEY) is None


def test_others_wait_for_the_loader_and_share_its_value(opened: OpenCache, notes: Notes) -> None:
    cache, loader = opened(CacheConfig(wait_s=PATIENCE_S, lease_s=PATIENCE_S)), Loader("mine")
    slow = Running(cache, KEY, "shared")
    got: list[object] = []
    waiter = threading.Thread(target=lambda: got.append(cache.retrieve(KEY, loader)))
    waiter.start()
    time.sleep(0.03)
    slow.finish()
    waiter.join()
    assert got == ["shared"]
    assert loader.calls == 0


def test_nobody_waits_longer_than_the_bound(opened: OpenCache, notes: Notes) -> None:
    cache, loader = opened(CacheConfig(wait_s=0.05)), Loader("mine")
    slow = Running(cache, KEY, "slow")
    assert cache.retrieve(KEY, loader) == "mine"
    assert notes.of("bypass") == 1
    assert slow.finish() == "slow"
    assert cache.retrieve(KEY, loader) == "slow"


def test_a_loader_that_fails_hands_over_to_a_waiter(opened: OpenCache) -> None:
    cache, loader = opened(CacheConfig(wait_s=PATIENCE_S, lease_s=PATIENCE_S)), Loader("mine")
    held, go = threading.Event(), threading.Event()

    def fail() -> object:
        held.set()
        go.wait(PATIENCE_S)
        raise LookupError

    def read() -> None:
        with pytest.raises(LookupError):
            cache.retrieve(KEY, fail)

    failing = threading.Thread(target=read)
    failing.start()
    held.wait(PATIENCE_S)
    waiter = threading.Thread(target=lambda: cache.retrieve(KEY, loader))
    waiter.start()
    go.set()
    waiter.join(PATIENCE_S)
    failing.join(PATIENCE_S)
    assert loader.calls == 1
    assert cache.retrieve(KEY, loader) == "mine"
    assert loader.calls == 1


def test_a_crashed_loaders_lease_ends(opened: OpenCache) -> None:
    cache, loader = opened(CacheConfig(wait_s=0)), Loader("mine")
    assert backend_of(cache).swap(KEY.name, None, b"~:of-a-process-that-died", 1_000) is None
    cache.retrieve(KEY, loader)
    assert stored_bytes(cache, KEY) == b"~:of-a-process-that-died"
    eventually(lambda: stored_bytes(cache, KEY) is None)
    cache.retrieve(KEY, loader)
    cache.retrieve(KEY, loader)
    assert loader.calls == 2


def test_what_is_not_cached_makes_nobody_queue(opened: OpenCache, notes: Notes) -> None:
    cache = opened(CacheConfig(wait_s=3600))
    threads = [
        threading.Thread(target=lambda: cache.retrieve(KEY, lambda: time.sleep(0.05))) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notes.of("declined") == 1


def test_a_push_ends_the_note_that_nothing_is_there(opened: OpenCache) -> None:
    cache, loader = opened(), Loader("pushed")
    assert cache.retrieve(KEY, lambda: None) is None
    cache.invalidate(KEY)
    cache.retrieve(KEY, loader)
    cache.retrieve(KEY, loader)
    assert loader.calls == 1


def test_a_value_lives_as_long_as_it_says(opened: OpenCache) -> None:
    cache, loader = opened(), Loader({"token": "secret", "expires_in": 0.06})
    key = keys.upstream_token("org", "quay.io", "a")

    def lifetime(value: dict[str, float]) -> float:
        return value["expires_in"]

    cache.retrieve(key, loader, lifetime=lifetime)
    cache.retrieve(key, loader, lifetime=lifetime)
    assert loader.calls == 1
    time.sleep(0.08)
    cache.retrieve(key, loader, lifetime=lifetime)
    assert loader.calls == 2


def test_a_value_that_is_no_json_is_answered_and_not_stored(
    opened: OpenCache, notes: Notes, caplog: pytest.LogCaptureFixture
) -> None:
    cache = opened()
    value = {"secret-token"}
    assert cache.retrieve(KEY, lambda: value) == value
    assert notes.of("error") == 1
    assert stored_bytes(cache, KEY) is None
    assert "secret-token" not in caplog.text


def test_the_generation_is_lost_and_no_page_of_it_returns(opened: OpenCache) -> None:
    cache, loader = opened(), Loader("old")
    cache.retrieve(PAGE, loader)
    backend_of(cache).forget([str(PAGE.group)])  # evicted, or ended
    assert cache.retrieve(PAGE, lambda: "new") == "new"


def test_a_foreign_generation_is_replaced(opened: OpenCache) -> None:
    cache = opened()
    backend_of(cache).swap(str(PAGE.group), None, b'"not ours"', 60_000)
    assert cache.retrieve(PAGE, lambda: "value") == "value"
    assert cache.retrieve(PAGE, lambda: "other") == "value"
