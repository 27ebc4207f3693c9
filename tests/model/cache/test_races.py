"""Two loaders and a deletion with its invalidation, in every order of their steps, on a real Valkey.

A loader's steps: look, take the lease, read the truth, store. The writer's: change the truth (its
commit), invalidate. Whatever the order: a read that starts after the invalidation was delivered
gets the truth. Without leases there are orders in which it does not, which shows that the explorer
would see it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from model.cache import CacheConfig, CacheKey, DataModelCache, keys
from model.cache.backend import Backend
from model.cache.connect import connector
from model.cache.redis import RedisBackend
from tests.model.cache.kinds import DIGEST
from tests.model.cache.stepping import Actor, Step, explore, run_schedule, sample

# Orders of two loaders with four steps each and a writer with two: 10! / (4! 4! 2!) is 3150, and fewer
# because a loader that finds the other's lease or value has fewer steps.
MANIFEST = keys.repository_manifest(7, DIGEST)
REFERRERS = keys.manifest_referrers(7, DIGEST, "x/y")
PAGE = keys.active_tags(7, None, 50)


class Stepped:
    """A backend whose every operation is a step of the actor that asks."""

    def __init__(self, backend: Backend, step: Step) -> None:
        self._backend, self._step = backend, step

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._backend, name)

        def stepped(*args: Any, **named: Any) -> Any:
            self._step()
            return operation(*args, **named)

        return stepped


class Leaseless(RedisBackend):
    """The cache as everybody writes it first: who misses loads, who has loaded stores."""

    def swap(self, name: str, seen: bytes | None, value: bytes, ttl_ms: int) -> bytes | None:
        return None

    def settle(self, name: str, mine: bytes, value: bytes, ttl_ms: int) -> bool:
        if ttl_ms:
            self._open().set(name, value, px=ttl_ms)
        return True


@dataclass
class Registry:
    """The truth, and when the invalidation of its change was delivered."""

    truth: str = "there"
    forgotten: bool = False
    wrong: list[str] = field(default_factory=list)


@dataclass
class Race:
    """One key, two loaders, one writer."""

    backend: RedisBackend
    key: CacheKey
    warm: bool = False
    loaders: int = 2

    def cache(self, step: Step | None = None) -> DataModelCache:
        backend: Any = Stepped(self.backend, step) if step else self.backend
        return DataModelCache(backend, CacheConfig(wait_s=0))

    def scenario(self) -> tuple[Sequence[Actor], Any]:
        registry = Registry()
        self.backend._open().flushall()
        if self.warm:
            self.cache().retrieve(self.key, lambda: registry.truth)

        def loader(step: Step) -> None:
            late: list[bool] = []

            def noting() -> None:
                step()
                late.append(registry.forgotten)

            def read() -> str:
                step()
                return registry.truth

            got = self.cache(noting).retrieve(self.key, read)
            if late[0] and got != "gone":
                registry.wrong.append("a read after the invalidation")

        def writer(step: Step) -> None:
            step()
            registry.truth = "gone"
            assert self.cache(step).invalidate(self.key)
            registry.forgotten = True

        def check(schedule: tuple[int, ...]) -> None:
            if self.cache().retrieve(self.key, lambda: registry.truth) != "gone":
                registry.wrong.append("the value that is left")
            assert not registry.wrong, f"{registry.wrong} after {schedule}"

        return [loader] * self.loaders + [writer], check


@pytest.fixture
def backend(valkey: str) -> RedisBackend:
    return RedisBackend(connector(valkey, 5))


def test_in_no_order_is_a_deleted_value_served_after_its_invalidation(backend: RedisBackend) -> None:
    for _ in sample(Race(backend, MANIFEST).scenario, 400, seed=19):
        pass


@pytest.mark.slow
def test_in_no_order_at_all_is_a_deleted_value_served(backend: RedisBackend) -> None:
    schedules = sum(1 for _ in explore(Race(backend, MANIFEST).scenario))
    assert schedules > 1_000


RACES = pytest.mark.parametrize(
    ("key", "warm"),
    [(key, warm) for key in (MANIFEST, REFERRERS, PAGE) for warm in (False, True)],
    ids=lambda value: value.kind if isinstance(value, CacheKey) else "warm" if value else "cold",
)


@RACES
def test_nor_with_a_generation_or_a_value_there_before(
    key: CacheKey, warm: bool, backend: RedisBackend
) -> None:
    for _ in sample(Race(backend, key, warm).scenario, 100, seed=20):
        pass


@pytest.mark.slow
@RACES
def test_in_no_order_of_any_kind(key: CacheKey, warm: bool, backend: RedisBackend) -> None:
    """Every order; of a cold page of tags, which has most, a sample unless EXHAUSTIVE is set."""
    scenario = Race(backend, key, warm).scenario
    many = key is PAGE and not warm and "EXHAUSTIVE" not in os.environ
    for _ in sample(scenario, 3_000, seed=21) if many else explore(scenario):
        pass


def test_without_leases_there_is_an_order_that_serves_it(valkey: str) -> None:
    race = Race(Leaseless(connector(valkey, 5)), MANIFEST)
    with pytest.raises(AssertionError, match="the value that is left"):
        for _ in explore(race.scenario):
            pass


@pytest.mark.slow
def test_three_loaders_and_a_writer(backend: RedisBackend) -> None:
    """A sample: there are too many orders of three loaders to try them all."""
    for _ in sample(Race(backend, MANIFEST, loaders=3).scenario, 2_000, seed=3):
        pass


def test_a_schedule_can_be_replayed(backend: RedisBackend) -> None:
    actors, check = Race(backend, MANIFEST).scenario()
    wanted = (0, 1, 0, 2, 0, 2, 0)
    taken = tuple(turn for turn, _ in run_schedule(actors, wanted))
    assert taken[: len(wanted)] == wanted
    check(taken)
