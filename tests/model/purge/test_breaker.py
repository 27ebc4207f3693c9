"""A purge of an unexpected share of the registry stops before its first row, until it is approved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model import registry
from model.controls.breaker import REGISTRY, approve, list_open
from model.gc.collect import collect_batch
from model.policy import DEFAULT, HOUR_MS
from tests.model.purge.conftest import NOW
from tests.model.purge.purging import purge, purge_namespace
from tests.support.world import Row, World

GUARDED = replace(NOW, breaker_share=25.0, breaker_manifests=10)


def images(world: World, count: int, repository: Row) -> None:
    """Tagged images in one repository."""
    for _ in range(count):
        world.tag(repository=repository, manifest=world.manifest(repository))


def left(world: World, repository: Row) -> int:
    return int(world.value("SELECT count(*) FROM manifest WHERE repository_id = %s", (int(repository),)))


@pytest.fixture
def doomed(world: World) -> Row:
    """A deleted repository with ten of the registry's thirty manifests."""
    images(world, 20, world.default_repository)
    repository = world.repository("doomed", namespace=world.namespace("globex"))
    images(world, 10, repository)
    registry.delete_repository("globex/doomed", policy=NOW)
    return repository


def test_a_purge_of_an_unexpected_share_stops_before_its_first_row_until_it_is_approved(
    world: World, doomed: Row
) -> None:
    with world.changes() as changes:
        (stopped,) = purge(doomed, limit=3, policy=GUARDED)
        assert purge(doomed, limit=3, policy=GUARDED) == [stopped]
    assert "10 of 30 manifests become due within an hour (10 in deleted repositories)" in stopped.stopped
    assert "the registry's breaker is open" in stopped.stopped
    assert not changes.removed and world.value("SELECT count(*) FROM dredge_purge WHERE started_ms > 0") == 0
    assert [breaker.namespace_id for breaker in list_open()] == [REGISTRY]
    assert approve(REGISTRY, author="ann")
    assert purge(doomed, limit=3, policy=GUARDED)[-1].done
    assert left(world, world.default_repository) == 20 and list_open() == []


def test_while_it_is_open_no_collection_runs_and_a_restore_is_still_possible(
    world: World, doomed: Row
) -> None:
    assert purge(doomed, policy=GUARDED)[0].stopped
    assert "the registry's breaker" in collect_batch(world.repository_id, policy=GUARDED, limit=10).stopped
    registry.restore_repository("globex/doomed")
    assert left(world, doomed) == 10


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (replace(GUARDED, breaker_share=50.0), "a smaller share than the limit"),
        (replace(GUARDED, breaker_manifests=11), "fewer manifests than the limit"),
        (replace(GUARDED, breaker_share=0.0), "the breaker is off"),
    ],
)
def test_an_expected_share_is_purged(world: World, doomed: Row, policy: object, why: str) -> None:
    assert purge(doomed, limit=3, policy=policy)[-1].done, why  # type: ignore[arg-type]
    assert left(world, world.default_repository) == 20


def test_a_deleted_namespace_counts_before_its_repositories_are_marked(world: World) -> None:
    images(world, 20, world.default_repository)
    globex = world.namespace("globex")
    repositories = [world.repository(f"r{n}", namespace=globex) for n in range(2)]
    for repository in repositories:
        images(world, 5, repository)
    registry.delete_namespace("globex", policy=NOW)
    (stopped,) = purge_namespace(globex, policy=GUARDED)
    assert "10 of 30" in stopped.stopped and stopped.marked == 0
    assert world.value("SELECT count(*) FROM repository WHERE state = 3") == 0
    approve(REGISTRY, author="ann")
    assert purge_namespace(globex, policy=GUARDED)[0].marked == 2
    assert {purge(repository, policy=GUARDED)[-1].done for repository in repositories} == {True}
    assert purge_namespace(globex, policy=GUARDED)[-1].done
    assert left(world, world.default_repository) == 20


def test_purges_one_after_another_count_together_and_so_do_those_that_come_soon(world: World) -> None:
    images(world, 40, world.default_repository)
    parts = [world.repository(f"r{n}", namespace=world.namespace(f"n{n}")) for n in range(3)]
    for n, part in enumerate(parts):
        images(world, 7, part)
        registry.delete_repository(f"n{n}/r{n}", policy=NOW)
    later = (
        "UPDATE deletedrepository SET marked = marked + make_interval(mins => %s) WHERE repository_id = %s"
    )
    world.execute(later, (90, int(parts[2])))
    world.execute(later, (180, int(parts[1])))
    # 7 of 61 now and 7 an hour and a half later: neither hour has a quarter of them.
    assert purge(parts[0], policy=GUARDED)[-1].done
    world.execute("UPDATE dredge_breaker SET valid_until_ms = 0")
    world.execute("UPDATE deletedrepository SET marked = marked - interval '5 hours'")
    (stopped,) = purge(parts[1], policy=GUARDED)
    assert "21 of 61 manifests" in stopped.stopped and left(world, parts[1]) == 7


def test_an_approval_covers_no_repository_that_is_deleted_later(world: World, doomed: Row) -> None:
    assert purge(doomed, policy=GUARDED)[0].stopped
    approve(REGISTRY, author="ann")
    assert purge(doomed, policy=GUARDED)[-1].done
    later = world.repository("later")
    images(world, 10, later)
    registry.delete_repository("acme/later", policy=NOW)
    world.execute(
        "UPDATE dredge_breaker SET valid_until_ms = 0, approved_ms = approved_ms - %s", (26 * HOUR_MS,)
    )
    (stopped,) = purge(later, policy=GUARDED)
    assert "20 of 40" in stopped.stopped and left(world, later) == 10


def test_a_grace_that_is_not_over_counts_nothing(world: World, doomed: Row) -> None:
    patient = replace(DEFAULT, breaker_share=25.0, breaker_manifests=10)
    assert purge(doomed, policy=patient)[0].scope is None and list_open() == []
    assert collect_batch(world.repository_id, policy=patient, limit=10).stopped == ""
