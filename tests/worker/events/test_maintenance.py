"""The outbox and the history stay bounded, and what comes due is enqueued once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model.cache.open import open_cache
from model.policy import DEFAULT
from tests.support.world import World
from worker.jobs import prune as pruning
from worker.jobs.context import JobContext
from worker.jobs.due import enqueue_due, remember_next
from worker.jobs.prune import prune
from worker.settings import Settings
from worker.storage.base import Stores

HOUR_MS = 3_600_000


class Due:
    """A due set and a queue in memory."""

    def __init__(self) -> None:
        self.due: dict[int, int] = {}
        self.enqueued: list[int] = []

    def remember(self, due: dict[int, int]) -> None:
        self.due |= due

    def take_due(self, now_ms: int, limit: int) -> list[int]:
        return [key for key, at in sorted(self.due.items()) if at <= now_ms][:limit]

    def collect(self, repository_ids: Sequence[int]) -> int:
        self.enqueued += repository_ids
        return len(repository_ids)


def context(parts: Any = None) -> JobContext:
    parts = parts or Due()
    cache = open_cache("none://")
    return JobContext(Settings(), DEFAULT, Stores({}, "local_us"), cache, queue=parts, due=parts)


def test_what_was_published_long_ago_goes_in_batches_and_debts_stay(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(pruning, "BATCH", 2)
    old, young = world.now_ms - 2 * HOUR_MS, world.now_ms - 1000
    for published in (old, old, old, old, old, young, None):
        world.insert(
            "dredge_event",
            event_id="x",
            type="x",
            subject="x",
            data="{}",
            created_ms=1,
            published_ms=published,
        )
    for finished in (world.now_ms - 91 * 24 * HOUR_MS, young):
        world.insert("dredge_collection", stage="collect", started_ms=1, finished_ms=finished)
    pruned = prune(context(), budget_s=5)
    assert (pruned.events, pruned.collections, pruned.has_more) == (5, 1, False)
    assert world.value("SELECT count(*) FROM dredge_event") == 2
    assert world.value("SELECT count(*) FROM dredge_collection") == 1


def test_a_turn_without_time_says_that_there_is_more(world: World, monkeypatch: Any) -> None:
    monkeypatch.setattr(pruning, "BATCH", 1)
    for _ in range(3):
        world.insert(
            "dredge_event", event_id="x", type="x", subject="x", data="{}", created_ms=1, published_ms=1
        )
    assert prune(context(), budget_s=0).has_more
    assert prune(context(), budget_s=5).events == 2


def test_the_next_instant_of_a_repository_is_noted_and_enqueued_when_it_comes(world: World) -> None:
    parts = Due()
    ends_ms = world.now_ms - 1000
    repository = world.repository(namespace=world.namespace("hourly", window_s=3600))
    world.tag(repository=repository, ended_ms=ends_ms)
    remember_next(context(parts), int(repository))
    remember_next(context(parts), world.repository_id)
    assert parts.due == {int(repository): ends_ms + HOUR_MS}
    assert enqueue_due(context(parts), now_ms=ends_ms + HOUR_MS - 1) == 0
    assert enqueue_due(context(parts), now_ms=ends_ms + HOUR_MS) == 1
    assert parts.enqueued == [int(repository)]
