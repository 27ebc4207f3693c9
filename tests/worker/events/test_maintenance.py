"""The outbox and the history stay bounded, whatever comes in."""

from __future__ import annotations

from typing import Any

from model.cache.open import open_cache
from model.policy import DEFAULT
from tests.support.pipeline import Recorded
from tests.support.world import World
from worker.jobs import prune as pruning
from worker.jobs.context import JobContext
from worker.jobs.prune import prune
from worker.settings import Settings
from worker.storage.base import Stores

HOUR_MS = 3_600_000


def context() -> JobContext:
    return JobContext(Settings(), DEFAULT, Stores({}, "local_us"), open_cache("none://"), queue=Recorded())


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
