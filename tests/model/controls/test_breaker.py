"""The breaker: a collection of too much stops before its first row, and goes on when it is approved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.controls.breaker import REGISTRY, approve, check, list_open
from model.db.clock import now_ms
from model.gc.collect import collect_batch
from model.policy import DEFAULT, HOUR_MS, Policy
from tests.support.pipeline import make_context
from tests.support.world import WEEK_S, Row, World
from worker.jobs.scan import scan
from worker.storage.base import Stores

WINDOW_MS = 2 * WEEK_S * 1000
GUARDED = replace(DEFAULT, breaker_share=25.0, breaker_manifests=10)


def images(
    world: World,
    count: int,
    *,
    due_in_ms: int | None,
    repository: Row | None = None,
    window_ms: int = WINDOW_MS,
) -> list[Row]:
    """Tagged images; dead ones can no longer be restored `due_in_ms` from now."""
    ended_ms = None if due_in_ms is None else now_ms() - WINDOW_MS + due_in_ms
    return [
        world.tag(repository=repository, manifest=world.manifest(repository), ended_ms=ended_ms)
        for _ in range(count)
    ]


def collect(world: World, policy: Policy = GUARDED, repository_id: int | None = None) -> str:
    """What stopped the collection; empty where nothing did."""
    return collect_batch(repository_id or world.repository_id, policy=policy, limit=100).stopped


def forget_checks(world: World) -> None:
    """As if the checks were too old by now."""
    world.execute("UPDATE dredge_breaker SET valid_until_ms = 0")


def manifests(world: World) -> int:
    return int(world.value("SELECT count(*) FROM manifest"))


def test_too_much_that_becomes_due_stops_the_namespace_before_the_first_row_until_it_is_approved(
    world: World,
) -> None:
    images(world, 20, due_in_ms=None)
    doomed = images(world, 10, due_in_ms=-1000)
    other = world.repository("other", namespace=world.namespace("globex"))
    theirs = images(world, 2, due_in_ms=-1000, repository=other)
    with world.only_removes(tag=theirs, manifest=[tag.manifest for tag in theirs]):
        reason = collect(world)
        assert "breaker is open: 10 of 30 manifests become due within an hour" in reason
        assert collect(world) == reason
        assert collect(world, repository_id=int(other)) == ""
    (breaker,) = list_open()
    assert (breaker.namespace, breaker.due_manifests, breaker.manifests) == ("acme", 10, 30)
    assert approve(world.namespace_id, author="ann") and not approve(world.namespace_id, author="ann")
    with world.only_removes(tag=doomed, manifest=[tag.manifest for tag in doomed]):
        assert collect(world) == ""
    assert list_open() == []


def test_what_becomes_due_soon_stops_what_is_due_already(world: World) -> None:
    images(world, 20, due_in_ms=None)
    images(world, 1, due_in_ms=-1000)
    images(world, 12, due_in_ms=30 * 60_000)
    assert "13 of 33" in collect(world) and manifests(world) == 33


def test_the_same_number_over_many_hours_stops_nothing(world: World) -> None:
    images(world, 20, due_in_ms=None)
    for hours in range(6):
        images(world, 3, due_in_ms=-2 * HOUR_MS * hours - 1000)
    assert collect(world) == "" and manifests(world) == 20


def test_an_approval_covers_what_was_due_then_and_no_later_disaster(world: World) -> None:
    images(world, 20, due_in_ms=None)
    images(world, 10, due_in_ms=-1000)
    assert collect(world)
    approve(world.namespace_id, author="ann")
    assert collect(world) == "" and manifests(world) == 20
    world.execute("UPDATE dredge_breaker SET approved_ms = approved_ms - %s", (3 * HOUR_MS,))
    forget_checks(world)
    images(world, 11, due_in_ms=-1000)
    assert "11 of 31" in collect(world) and manifests(world) == 31


@pytest.mark.parametrize("share", [0.0, 50.0])
def test_the_share_is_a_setting_and_zero_switches_the_breaker_off(world: World, share: float) -> None:
    images(world, 20, due_in_ms=None)
    images(world, 15, due_in_ms=-1000)
    assert collect(world, replace(GUARDED, breaker_share=share)) == "" and manifests(world) == 20


def test_case_76_a_window_shortened_to_zero_stops_the_collection_before_the_first_row(world: World) -> None:
    images(world, 20, due_in_ms=None)
    for days in range(1, 11):
        images(world, 1, due_in_ms=days * 24 * HOUR_MS)
    assert collect(world) == ""
    world.execute('UPDATE "user" SET removed_tag_expiration_s = 0 WHERE id = %s', (world.namespace_id,))
    assert "window was shortened: 10 of 30" in collect(world) and manifests(world) == 30
    approve(world.namespace_id, author="ann")
    assert collect(world) == "" and manifests(world) == 20


def test_a_shortened_window_stops_a_namespace_with_most_of_the_registry(world: World) -> None:
    small = world.repository("small", namespace=world.namespace("globex"))
    images(world, 27, due_in_ms=None)
    images(world, 7, due_in_ms=None, repository=small)
    images(world, 1, due_in_ms=HOUR_MS * 24), images(world, 1, due_in_ms=HOUR_MS * 24, repository=small)
    check([world.namespace_id, int(small.namespace)], policy=GUARDED)
    world.execute('UPDATE "user" SET removed_tag_expiration_s = 0')
    assert "on 28 of the registry's 36 manifests" in collect(world)
    assert collect(world, repository_id=int(small)) == "" and manifests(world) == 35


def test_children_count_with_their_index_and_temporary_tags_do_not_count(world: World) -> None:
    images(world, 30, due_in_ms=None)
    children = [world.manifest() for _ in range(9)]
    index = world.manifest(children=children)
    for child in children:
        world.tag(manifest=child, ended_ms=now_ms() - WINDOW_MS - 1000, hidden=True)
    world.tag("index", manifest=index)
    assert collect(world) == ""
    world.execute("UPDATE tag SET lifetime_end_ms = %s WHERE name = 'index'", (now_ms() - WINDOW_MS - 500,))
    forget_checks(world)
    assert "10 of 40" in collect(world, replace(GUARDED, breaker_share=20.0))


def test_many_small_namespaces_together_open_the_registrys_breaker(world: World) -> None:
    images(world, 20, due_in_ms=None)
    small = [world.repository(namespace=world.namespace()) for _ in range(4)]
    for repository in small:
        images(world, 3, due_in_ms=-1000, repository=repository)
    with world.changes() as changes:
        assert "the registry's breaker is open: 12 of 32" in collect(world, repository_id=int(small[0]))
        assert "the registry's breaker" in collect(world)
    assert not changes.removed
    assert approve(REGISTRY, author="ann")
    assert all(collect(world, repository_id=int(repository)) == "" for repository in small)
    assert manifests(world) == 20


def test_a_scan_leaves_out_a_namespace_with_an_open_breaker(world: World, stores: Stores) -> None:
    images(world, 20, due_in_ms=None)
    images(world, 10, due_in_ms=-1000)
    context = make_context(stores, policy=GUARDED)
    assert scan(context).enqueued == 1 and collect(world)
    assert make_context(stores).queue is not context.queue and scan(make_context(stores)).enqueued == 0
