"""Several small repositories in one transaction: what goes, and what becomes of the rest when one fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model.cache.base import DataModelCache
from model.cache.memory import MemoryBackend
from model.db.connection import execute
from model.errors import Contended, DatabaseUnavailable
from model.gc.collect import Batch, collect_batches
from model.gc.due.note import NEVER_MS, note_due
from model.gc.inspect.status import read_failures
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import Recorded, make_context
from tests.support.world import World
from worker.jobs import collect, together
from worker.jobs.collect import Collected
from worker.jobs.context import JobContext
from worker.jobs.to_the_end import collect_many_to_the_end
from worker.jobs.together import collect_many, collect_with_others, enqueue_unfinished
from worker.settings import Settings


@pytest.fixture(autouse=True)
def bystander(world: World) -> None:
    world.tag("bystander", manifest=world.manifest(blobs=[world.blob()]))


@pytest.fixture
def context(tmp_path: Path) -> JobContext:
    return make_context(tmp_path, settings=Settings(batch_repositories=4))


def garbage(world: World, count: int) -> list[int]:
    """Repositories with one dead image each, noted as due."""
    made = []
    for n in range(count):
        repository = world.repository()
        world.tag("old", manifest=world.manifest(repository, blobs=[world.blob()]), ended_ms=1)
        note_due({int(repository): 1 + n})
        made.append(int(repository))
    return made


def left(world: World) -> list[int]:
    """The repositories whose garbage is still there."""
    return [id for (id,) in world.rows("SELECT repository_id FROM tag WHERE name = 'old' ORDER BY 1")]


def test_a_turn_takes_other_due_repositories_with_its_own(world: World, context: JobContext) -> None:
    repositories = garbage(world, 6)
    outcomes = collect_with_others(context, repositories[5], budget_s=5)
    assert outcomes[0].repository_id == repositories[5]
    assert {outcome.repository_id for outcome in outcomes} == {repositories[5], *repositories[:3]}
    assert all(outcome.collected.manifests == 1 for outcome in outcomes)
    assert left(world) == repositories[3:5]
    settled = "SELECT count(*) FROM dredge_due WHERE next_try_ms = %s AND attempts = 0"
    assert world.value(settled, (NEVER_MS,)) == 4
    assert isinstance(context.queue, Recorded) and context.queue.reviews == 1


def test_of_a_batch_that_fails_each_repository_is_collected_alone_and_the_broken_one_backs_off(
    world: World, context: JobContext
) -> None:
    """A trigger of somebody else's refuses every deletion of one repository's tags."""
    broken, *others = garbage(world, 4)
    refuse(broken)
    outcomes = [outcome for turn in collect_many(context, [broken, *others], budget_s=5) for outcome in turn]
    assert [outcome.error is not None for outcome in outcomes] == [True, False, False, False]
    assert left(world) == [broken]
    (failing,) = read_failures(limit=5)
    assert "somebody else's trigger" in failing.last_error and failing.failures == 1


def refuse(repository_id: int) -> None:
    execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'somebody else''s trigger'; END $$"
    )
    execute(
        "CREATE TRIGGER refuse BEFORE DELETE ON tag FOR EACH ROW"
        f" WHEN (OLD.repository_id = {repository_id}) EXECUTE FUNCTION refuse()"
    )


def fails_once(error: Exception) -> Callable[..., list[Batch]]:
    done: list[int] = []

    def attempt(*args: Any, **kwargs: Any) -> list[Batch]:
        if not done:
            done.append(1)
            raise error
        return collect_batches(*args, **kwargs)

    return attempt


@pytest.mark.parametrize("error", [Contended(), MemoryError()])
def test_a_batch_that_was_in_the_way_or_too_large_is_divided(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    repositories = garbage(world, 3)
    monkeypatch.setattr(together, "collect_batches", fails_once(error))
    outcomes = collect_with_others(context, repositories[0], budget_s=5)
    assert [outcome.error for outcome in outcomes] == [None] * 3 and not left(world)
    assert not read_failures(limit=5)


def test_an_outage_ends_the_turn_and_every_repository_of_it_has_its_next_try(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    repositories = garbage(world, 3)
    monkeypatch.setattr(together, "collect_batches", fails_once(DatabaseUnavailable()))
    with pytest.raises(DatabaseUnavailable):
        collect_with_others(context, repositories[0], budget_s=5)
    assert left(world) == repositories
    assert world.value("SELECT count(*) FROM dredge_due WHERE attempts = 1 AND last_error IS NULL") == 3


def test_a_turn_drops_what_it_removed_from_the_cache_in_one_round_trip(
    world: World, context: JobContext
) -> None:
    repositories = garbage(world, 4)
    backend = Forgetful()
    context = replace(context, cache=DataModelCache(backend))
    collect_with_others(context, repositories[0], budget_s=5)
    assert len(backend.calls) == 1 and not left(world)
    for repository_id in repositories:
        assert any(f"repository_manifest__{repository_id}_" in name for name in backend.calls[0])


class Forgetful(MemoryBackend):
    """Keeps the names of each deletion."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []

    def forget(self, names: Sequence[str]) -> bool:
        self.calls.append(list(names))
        return super().forget(names)


def test_what_a_small_namespace_has_deleted_just_now_goes_before_the_batch_of_a_busy_one(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, *busy = garbage(world, 5)
    single = world.repository(namespace=world.namespace(window_s=0))
    world.tag("old", manifest=world.manifest(single, blobs=[world.blob()]), ended_ms=1)
    note_due({int(single): world.now_ms - 1})
    batches: list[set[int]] = []

    def fails_if_large(repository_ids: list[int], **kwargs: Any) -> list[Batch]:
        batches.append(set(repository_ids))
        if len(repository_ids) > 1:
            raise DatabaseUnavailable
        return collect_batches(repository_ids, **kwargs)

    monkeypatch.setattr(together, "collect_batches", fails_if_large)
    monkeypatch.setattr(collect, "collect_batch", lambda id, **kwargs: fails_if_large([id], **kwargs)[0])
    with pytest.raises(DatabaseUnavailable):
        collect_with_others(context, leader, budget_s=5)
    assert batches == [{int(single)}, {leader, *busy[:2]}]
    assert left(world) == [leader, *busy], "the small namespace's repository is collected"


def test_a_batch_that_is_cut_short_goes_on_until_nothing_is_left(world: World, tmp_path: Path) -> None:
    context = make_context(tmp_path, settings=Settings(batch_repositories=8, batch_manifests=2))
    repositories = garbage(world, 7)
    turns = list(collect_many_to_the_end(context, repositories))
    assert [turn.repository_id for turn in turns] == repositories and not left(world)


def test_a_turn_without_time_says_who_has_more_and_leaves_them_due(world: World, tmp_path: Path) -> None:
    context = make_context(tmp_path, settings=Settings(batch_repositories=8, batch_manifests=2))
    repositories = garbage(world, 5)
    outcomes = collect_with_others(context, repositories[0], budget_s=0)
    assert any(outcome.collected.has_more for outcome in outcomes) and len(left(world)) == 3
    assert world.value("SELECT count(*) FROM dredge_due WHERE attempts = 0 AND next_try_ms < %s", (NEVER_MS,))
    for turn in collect_many_to_the_end(context, repositories):
        assert not turn.error
    assert not left(world)


def test_a_large_one_delays_the_small_ones_of_its_turn_by_one_batch(world: World, tmp_path: Path) -> None:
    context = make_context(tmp_path, settings=Settings(batch_repositories=4, batch_manifests=4))
    large = int(world.repository())
    for n in range(40):
        world.tag("old", manifest=world.manifest(large, blobs=[world.blob()]), ended_ms=n, repository=large)
    note_due({large: 0})
    small = garbage(world, 3)
    batches: list[set[int]] = []
    context.limits.charge = lambda **_: batches.append(set(left(world)))  # type: ignore[method-assign]
    collect_with_others(context, large, budget_s=PATIENCE_S)
    assert {*small} <= batches[0] and batches[1] == {large}
    assert not left(world)


def test_what_is_left_of_a_large_one_waits_for_a_turn_of_its_own(world: World, tmp_path: Path) -> None:
    context = make_context(tmp_path, settings=Settings(batch_repositories=3, batch_manifests=2))
    large = world.repository()
    for n in range(9):
        world.tag("old", manifest=world.manifest(large, blobs=[world.blob()]), ended_ms=n, repository=large)
    note_due({int(large): 0})
    small = garbage(world, 8)
    taken = collect_with_others(context, small[0], budget_s=0)
    enqueue_unfinished(context, taken)
    assert int(large) in {outcome.repository_id for outcome in taken if outcome.collected.has_more}
    assert isinstance(context.queue, Recorded) and int(large) in context.queue.repositories
    for leader in small[2:4]:
        turn = collect_with_others(context, leader, budget_s=PATIENCE_S)
        assert int(large) not in {outcome.repository_id for outcome in turn}
    assert not collect_with_others(context, int(large), budget_s=PATIENCE_S)[0].collected.has_more
    assert int(large) not in left(world)


def test_a_repository_that_is_gone_is_nothing_to_do(world: World, context: JobContext) -> None:
    (outcome,) = collect_with_others(context, 999_999, budget_s=1)
    assert outcome.collected == Collected() and outcome.error is None


def test_what_is_on_hold_is_put_off_and_the_others_go(world: World, context: JobContext) -> None:
    held, *others = garbage(world, 3)
    world.execute(
        "INSERT INTO dredge_hold (namespace_id, repository_id, reason, author, created_ms)"
        " VALUES (0, %s, 'legal', 'ann', 1)",
        (held,),
    )
    outcomes = {o.repository_id: o for o in collect_with_others(context, others[0], budget_s=5)}
    assert "on hold" in outcomes[held].collected.stopped and left(world) == [held]
    assert world.value("SELECT attempts FROM dredge_due WHERE repository_id = %s", (held,)) == 0
    lifted = replace(context, policy=replace(context.policy, ignores_holds=True))
    assert collect_with_others(lifted, held, budget_s=5)[0].collected.manifests == 1
