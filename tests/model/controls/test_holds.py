"""Holds: what is on hold stays, everything else goes on, and nothing is lost when the hold is lifted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from model.controls.holds import EVERY, forget_expired_holds, lift_hold, list_holds, set_hold
from model.gc.collect import collect_batch
from model.gc.review import review_batch
from model.policy import DEFAULT
from tests.support.pipeline import Recorded, make_context
from tests.support.world import Row, World
from worker.jobs.collect import collect_repository
from worker.jobs.erase import erase
from worker.jobs.review import review
from worker.jobs.scan import scan
from worker.jobs.sweep import sweep

STUBBORN = replace(DEFAULT, ignores_holds=True)


@pytest.fixture
def other(world: World) -> Row:
    """A repository of another namespace."""
    return world.repository("other", namespace=world.namespace("globex"))


def hold(*, namespace_id: int = EVERY, repository_id: int = EVERY, until_ms: int | None = None) -> None:
    set_hold(
        namespace_id=namespace_id,
        repository_id=repository_id,
        reason="legal hold 17",
        author="ann@ops",
        until_ms=until_ms,
    )


def garbage(world: World, repository: Row | None = None) -> Row:
    blob = world.blob()
    return world.tag(repository=repository, manifest=world.manifest(repository, blobs=[blob]), ended_ms=1000)


@pytest.mark.parametrize("target", ["repository", "namespace", "registry"])
def test_a_batch_of_a_repository_on_hold_removes_nothing_and_says_why(world: World, target: str) -> None:
    doomed = garbage(world)
    ids = {
        "repository": {"repository_id": world.repository_id},
        "namespace": {"namespace_id": world.namespace_id},
    }
    hold(**ids.get(target, {}))
    with world.changes() as changes:
        batch = collect_batch(world.repository_id, policy=DEFAULT, limit=10)
    assert not changes and batch.scope is None and not batch.has_more
    assert batch.stopped == f"the {target} is on hold (ann@ops: legal hold 17)"
    assert lift_hold(**ids.get(target, {})) and not lift_hold(**ids.get(target, {}))
    with world.only_removes(tag=doomed, manifest=doomed.manifest):
        assert collect_batch(world.repository_id, policy=DEFAULT, limit=10).tags == 1


def test_a_hold_stops_nobody_else_and_ends_by_itself(world: World, other: Row) -> None:
    mine, theirs = garbage(world), garbage(world, other)
    hold(namespace_id=world.namespace_id)
    hold(repository_id=int(other), until_ms=world.now_ms - 1)
    with world.only_removes(tag=theirs, manifest=theirs.manifest):
        assert collect_batch(int(other), policy=DEFAULT, limit=10).tags == 1
        assert collect_batch(world.repository_id, policy=DEFAULT, limit=10).stopped
    assert [found.target for found in list_holds()] == ["acme"]
    assert (forget_expired_holds(), forget_expired_holds()) == (1, 0)
    with world.only_removes(tag=mine, manifest=mine.manifest):
        assert collect_batch(world.repository_id, policy=STUBBORN, limit=10).tags == 1


def test_a_held_repository_stays_on_hold_when_it_moves_and_a_second_hold_replaces_the_first(
    world: World, other: Row
) -> None:
    garbage(world, other)
    hold(repository_id=int(other))
    set_hold(repository_id=int(other), reason="another", author="bob", until_ms=None)
    world.execute(
        "UPDATE repository SET namespace_user_id = %s WHERE id = %s", (world.namespace_id, int(other))
    )
    assert "bob: another" in collect_batch(int(other), policy=DEFAULT, limit=10).stopped
    assert [(found.target, found.reason) for found in list_holds()] == [("acme/other", "another")]


def test_blobs_that_left_a_namespace_before_its_hold_stay_until_it_is_lifted(
    world: World, other: Row
) -> None:
    garbage(world), garbage(world, other)
    for repository_id in (world.repository_id, int(other)):
        collect_batch(repository_id, policy=DEFAULT, limit=10)
    hold(namespace_id=world.namespace_id)
    mine = "SELECT blob_id FROM dredge_blob_candidate WHERE repository_id = %s"
    (kept,) = world.rows(mine, (world.repository_id,))
    assert review_batch(policy=DEFAULT, limit=10).blobs == 1
    assert world.rows("SELECT blob_id FROM dredge_blob_candidate") == [kept]
    assert world.rows("SELECT id FROM imagestorage") == [kept]
    lift_hold(namespace_id=world.namespace_id)
    assert review_batch(policy=DEFAULT, limit=10).blobs == 1


def test_a_hold_on_the_registry_stops_every_stage_until_it_is_lifted(world: World, tmp_path: Path) -> None:
    context = make_context(tmp_path)
    doomed = garbage(world)
    waiting = world.blob()
    world.execute("INSERT INTO dredge_blob_candidate (blob_id, created_ms) VALUES (%s, 0)", (int(waiting),))
    world.execute(
        "INSERT INTO dredge_tombstone (path, location, size, created_ms, due_ms)"
        " VALUES ('x', 'local_us', 1, 0, 0)"
    )
    hold()
    moved = {"dredge_cursor", "dredge_due"}
    with world.changes() as changes:
        assert scan(context).enqueued == 0
        assert collect_repository(context, world.repository_id, budget_s=5).stopped
        assert review(context, budget_s=5).stopped and erase(context, budget_s=5).stopped
        assert all("on hold" in (swept.error or "") for swept in sweep(context, budget_s=5))
    assert not changes.removed and set(changes.added) | set(changes.changed) <= moved
    lift_hold()
    assert scan(context).enqueued == 1 and isinstance(context.queue, Recorded)
    with world.only_removes(tag=doomed, manifest=doomed.manifest, blob=[waiting, *blobs_of(world, doomed)]):
        collect_repository(context, context.queue.repositories[0], budget_s=5)
        assert review(context, budget_s=5).blobs == 2 and erase(context, budget_s=5).missing == 3


def blobs_of(world: World, tag: Row) -> list[int]:
    rows = world.rows("SELECT blob_id FROM manifestblob WHERE manifest_id = %s", (int(tag.manifest),))
    return [blob for (blob,) in rows]
