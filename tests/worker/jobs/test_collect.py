"""A turn of a repository's collection: its budget, its batches, what it tells, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from model.cache import keys
from model.cache.base import DataModelCache, always
from model.cache.memory import MemoryBackend
from model.db.clock import now_ms
from model.errors import BadInput, Contended, DatabaseUnavailable
from model.gc.collect import Batch, collect_batch
from model.gc.due.attempt import claim
from model.gc.find import find_in_slice
from model.gc.inspect.status import read_failures
from model.policy import DEFAULT, HOUR_MS
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import Recorded, make_context
from tests.support.world import World
from worker.jobs import collect as module
from worker.jobs.collect import ATTEMPTS, Collected, collect_repository
from worker.jobs.context import JobContext
from worker.jobs.pace import BatchSize, Budget
from worker.settings import Settings


@pytest.fixture(autouse=True)
def bystander(world: World) -> None:
    """A tagged image, and one that can still be restored."""
    world.tag("bystander", manifest=world.manifest(blobs=[world.blob()]))
    world.tag("recoverable", ended_ms=world.now_ms - HOUR_MS)


@pytest.fixture
def context(tmp_path: Path) -> JobContext:
    return make_context(tmp_path)


def old_tags(world: World, count: int) -> list[Any]:
    return [
        world.tag(f"old{n}", manifest=world.manifest(blobs=[world.blob()]), ended_ms=1000 + n)
        for n in range(count)
    ]


def queue_of(context: JobContext) -> Recorded:
    assert isinstance(context.queue, Recorded)
    return context.queue


def turn(world: World, context: JobContext, budget_s: float = 60.0) -> Collected:
    return collect_repository(context, world.repository_id, budget_s=budget_s)


def small_batches(tmp_path: Path, size: int = 3) -> JobContext:
    return make_context(tmp_path, settings=Settings(batch_manifests=size))


def failures(world: World) -> list[tuple[Any, ...]]:
    return world.rows("SELECT repository_id, failures, last_error FROM dredge_failure")


def test_a_turn_goes_on_batch_after_batch_until_nothing_is_left(world: World, tmp_path: Path) -> None:
    context, tags = small_batches(tmp_path), old_tags(world, 10)
    with world.only_removes(tag=tags, manifest=[tag.manifest for tag in tags]):
        collected = turn(world, context)
    assert (collected.tags, collected.manifests, collected.blob_candidates) == (10, 10, 10)
    assert collected.batches == 4 and not collected.has_more
    assert queue_of(context).reviews == 1


def test_a_turn_gives_way_when_its_budget_is_used_up(world: World, tmp_path: Path) -> None:
    context, tags = small_batches(tmp_path), old_tags(world, 7)
    with world.only_removes(tag=tags[:3], manifest=[tag.manifest for tag in tags[:3]]):
        collected = turn(world, context, budget_s=0)
    assert collected.has_more and collected.batches == 1
    assert queue_of(context).reviews == 1
    while turn(world, context, budget_s=0).has_more:
        pass
    assert world.value("SELECT count(*) FROM tag") == 2


def test_a_second_turn_finds_nothing_and_wakes_nobody(world: World, context: JobContext) -> None:
    old_tags(world, 2)
    turn(world, context)
    queue_of(context).reviews = 0
    with world.changes() as changes:
        assert turn(world, context) == Collected(batches=1)
    assert not changes and not queue_of(context).reviews


def test_a_repository_that_is_gone_is_nothing_to_do(world: World, context: JobContext) -> None:
    with world.changes() as changes:
        assert collect_repository(context, 999_999, budget_s=1) == Collected()
    assert not changes


def test_case_37_another_collection_of_the_repository_goes_first(world: World, context: JobContext) -> None:
    old_tags(world, 1)
    world.execute("BEGIN")
    world.rows("SELECT pg_advisory_xact_lock(hashtext('dredge.collect'), %s)", (world.repository_id,))
    try:
        assert turn(world, context) == Collected()
    finally:
        world.execute("ROLLBACK")
    assert turn(world, context).tags == 1


def test_reports_are_owed_only_where_a_scanner_is_configured(world: World, tmp_path: Path) -> None:
    for tag in old_tags(world, 2):
        world.security(tag.manifest)
    context = make_context(tmp_path, policy=replace(DEFAULT, security_reports=True))
    turn(world, context)
    assert queue_of(context).report_runs == 1
    assert world.value("SELECT count(*) FROM dredge_report_debt") == 2


def test_what_a_batch_removed_leaves_the_cache_right_after_its_commit(world: World, tmp_path: Path) -> None:
    (tag,) = old_tags(world, 1)
    blob = world.value("SELECT content_checksum FROM imagestorage ORDER BY id DESC LIMIT 1")
    context = replace(make_context(tmp_path), cache=DataModelCache(MemoryBackend()))
    repository_id, other = world.repository_id, world.repository("other")
    wrong = [
        keys.repository_manifest(repository_id, tag.manifest.digest),
        keys.active_tags(repository_id),
        keys.repository_blob("acme", "app", blob),
        keys.security_report(tag.manifest.digest),
    ]
    right = [
        keys.active_tags(int(other)),
        keys.repository_manifest(int(other), tag.manifest.digest),
        keys.repository_blob("acme", "other", blob),
    ]
    for key in (*wrong, *right):
        context.cache.retrieve(key, lambda: "cached")
    turn(world, context)
    found = [context.cache.retrieve(key, lambda: "loaded", should_cache=always) for key in (*wrong, *right)]
    assert found == ["loaded"] * len(wrong) + ["cached"] * len(right)


def test_a_turn_without_garbage_leaves_the_cache_alone(world: World, tmp_path: Path) -> None:
    context = replace(make_context(tmp_path), cache=DataModelCache(MemoryBackend()))
    key = keys.active_tags(world.repository_id)
    context.cache.retrieve(key, lambda: "cached")
    turn(world, context)
    assert context.cache.retrieve(key, lambda: "loaded") == "cached"


def broken(times: int, error: Exception) -> Callable[..., Batch]:
    """A `collect_batch` that fails so often before it does its work."""
    left = [times]

    def attempt(*args: Any, **kwargs: Any) -> Batch:
        if left[0]:
            left[0] -= 1
            raise error
        return collect_batch(*args, **kwargs)

    return attempt


def test_case_53_a_batch_that_lost_a_deadlock_is_tried_again_at_once(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_tags(world, 2)
    monkeypatch.setattr(module, "collect_batch", broken(ATTEMPTS - 1, Contended()))
    assert turn(world, context).tags == 2
    assert not failures(world)


@pytest.mark.parametrize("error", [Contended(), DatabaseUnavailable()])
def test_what_may_be_tried_again_is_no_failure_of_the_repository(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    old_tags(world, 1)
    monkeypatch.setattr(module, "collect_batch", broken(99, error))
    with pytest.raises(type(error)):
        turn(world, context)
    assert not read_failures(limit=10) and world.value("SELECT count(*) FROM tag WHERE name = 'old0'") == 1


@pytest.mark.parametrize(
    ("error", "noted"),
    [
        (BadInput("odd manifest"), "odd manifest"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_case_52_a_poison_repository_backs_off_is_visible_and_cleared(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch, error: Exception, noted: str
) -> None:
    old_tags(world, 1)
    monkeypatch.setattr(module, "collect_batch", broken(2, error))
    for count in (1, 2):
        with pytest.raises(type(error)):
            turn(world, context)
        assert failures(world) == [(world.repository_id, count, noted)]
    moment = now_ms()
    wait_ms = world.value("SELECT retry_ms FROM dredge_failure") - moment
    assert 55_000 < wait_ms <= 60_000
    assert not find_in_slice(after=0, slice=10, policy=DEFAULT, now_ms=moment).due
    assert find_in_slice(after=0, slice=10, policy=DEFAULT, now_ms=moment + 60_000).due
    assert turn(world, context).tags == 1
    assert not failures(world)


def test_a_failed_batch_leaves_what_the_batches_before_it_removed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, tags = small_batches(tmp_path), old_tags(world, 5)
    done: list[int] = []

    def second_fails(*args: Any, **kwargs: Any) -> Batch:
        done.append(1)
        if len(done) > 1:
            raise ZeroDivisionError
        return collect_batch(*args, **kwargs)

    monkeypatch.setattr(module, "collect_batch", second_fails)
    gone = tags[:3]
    with (
        world.only_removes(tag=gone, manifest=[tag.manifest for tag in gone]),
        pytest.raises(ZeroDivisionError),
    ):
        turn(world, context)
    assert len(failures(world)) == 1


def test_every_batch_is_told_once(world: World, tmp_path: Path) -> None:
    context, tags = small_batches(tmp_path), old_tags(world, 7)
    turn(world, context)
    turn(world, context)
    told = [
        json.loads(data)
        for (data,) in world.rows(
            "SELECT data FROM dredge_event WHERE type = 'registry.manifest.collected' ORDER BY id"
        )
    ]
    digests = [item["digest"] for data in told for item in data["items"]]
    assert sorted(digests) == sorted(tag.manifest.digest for tag in tags) and len(told) == 3


def test_batches_adapt_to_the_time_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("worker.jobs.pace.time.monotonic", lambda: clock[0])
    seconds = iter([0.1, 0.1, 0.1, 0.7, 1.4, 0.35, *[9.0] * 9, 0.5])
    sizes = []
    for size in BatchSize(most=1500, target_ms=700).batches(Budget(1000)):
        sizes.append(size)
        step = next(seconds, None)
        if step is None:
            break
        clock[0] += step
    assert sizes[:7] == [250, 500, 1000, 1500, 1500, 750, 1500]
    assert sizes[7:9] == [117, 16], "one that took far too long shrinks the next as far"
    assert min(sizes[9:]) == max(sizes[9:-1]) == 16


def test_a_slow_server_is_learned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("worker.jobs.pace.time.monotonic", lambda: clock[0])
    sizes = BatchSize(most=1500, target_ms=700)

    def work(*seconds: float) -> list[int]:
        """The sizes of batches that take so long; then the budget is used up."""
        taken, steps = [], iter(seconds)
        for size in sizes.batches(Budget(sum(seconds))):
            taken.append(size)
            clock[0] += next(steps)
        return taken

    assert work(7.0) == [250]
    assert work(0.7, 0.7) == [25, 25]
    assert work(0.25, 0.25, 0.25, 0.25, 0.25) == [25, 50, 100, 200, 400]
    assert work(0.7) == [250], "what comes next may be dearer"


@pytest.mark.parametrize("seconds", [0.0, 9.0])
def test_a_batch_is_never_larger_than_the_setting(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    clock = [0.0]
    monkeypatch.setattr("worker.jobs.pace.time.monotonic", lambda: clock[0])
    sizes = BatchSize(most=3, target_ms=700).batches(Budget(1000))
    for _ in range(4):
        assert next(sizes) == 3
        clock[0] += seconds


@pytest.mark.parametrize("interrupted", [0, 2])
def test_a_repository_whose_row_is_noted_while_its_last_batch_settles_does_not_back_off(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch, interrupted: int
) -> None:
    old_tags(world, 1)
    for _ in range(1 + interrupted):
        claim([world.repository_id])
    noting = psycopg2.connect(world.url)
    noting.cursor().execute("SELECT * FROM dredge_due FOR UPDATE")
    real = module.publish_removals

    def noted(*arguments: Any) -> None:
        noting.rollback()
        real(*arguments)

    monkeypatch.setattr(module, "publish_removals", noted)
    module.collect_claimed(context, world.repository_id, budget_s=PATIENCE_S)
    noting.close()
    ((attempts, waits),) = world.rows(
        "SELECT attempts, next_try_ms > %s FROM dredge_due WHERE repository_id = %s",
        (now_ms(), world.repository_id),
    )
    assert (attempts, waits) == (0, False)
    assert world.rows("SELECT name FROM tag WHERE lifetime_end_ms = 1000") == []
