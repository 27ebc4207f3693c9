"""The time machine: what history shows can be restored, what it does not show cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from model import registry
from model.errors import FeatureDisabled, ImmutableTag, NotRestorable
from model.gc.collect import collect_batch
from model.policy import Policy
from model.registry import operation, time_machine
from model.tag import lock_repository_tags
from tests.support.world import World

WINDOW_MS = 14 * 24 * 3_600_000
NOW_MS = 1_800_000_000_000


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The clock stands at `NOW_MS`; the lock is taken all the same."""

    def stopped(repository_id: int) -> int:
        lock_repository_tags(repository_id)
        return NOW_MS

    monkeypatch.setattr(operation, "lock_repository_tags", stopped)
    monkeypatch.setattr(time_machine, "now_ms", lambda: NOW_MS)
    yield NOW_MS


def names(history: registry.History) -> list[tuple[str, bool]]:
    return [(line.tag.name, line.restorable) for line in history.lifetimes]


def test_a_deleted_tag_is_restored_as_a_reversion(world: World) -> None:
    gone = world.tag("v1", ended_ms=world.now_ms - 1000)
    world.tag("v2")
    with world.changes() as changes:
        made = registry.restore_tag("acme/app", "v1", gone.manifest.digest)
    assert not changes.changed and not changes.removed
    row = changes.added["tag"][made.id]
    assert row["reversion"] is True and row["lifetime_end_ms"] is None
    assert row["manifest_id"] == int(gone.manifest)
    (event,) = changes.added["dredge_event"].values()
    assert event["type"] == "registry.tag.restored" and json.loads(event["data"])["ended_ms"] is None
    with world.changes() as changes:
        assert registry.restore_tag("acme/app", "v1", gone.manifest.digest).id == made.id
    assert not changes


def test_restoring_ends_what_the_name_points_at_now(world: World) -> None:
    gone, alive = world.tag("v1", ended_ms=world.now_ms - 1000), world.tag("v1")
    sibling = world.tag(alive.manifest.digest.replace(":", "-") + ".sig")
    with world.changes() as changes:
        registry.restore_tag(world.repository_id, "v1", gone.manifest.digest)
    assert set(changes.changed["tag"]) == {alive, sibling}
    types = sorted(row["type"] for row in changes.added["dredge_event"].values())
    assert types == ["registry.tag.deleted", "registry.tag.restored"]


def test_the_window_closes_at_one_millisecond_for_every_reader(world: World, still: int) -> None:
    closed = world.tag("closed", ended_ms=still - WINDOW_MS)
    opened = world.tag("open", ended_ms=still - WINDOW_MS + 1)
    assert names(registry.list_tag_history(world.repository_id)) == [("open", True)]
    with world.changes() as changes, pytest.raises(NotRestorable):
        registry.restore_tag(world.repository_id, "closed", closed.manifest.digest)
    assert not changes
    assert registry.restore_tag(world.repository_id, "open", opened.manifest.digest).alive(still)


def test_the_collector_takes_what_history_does_not_show(world: World) -> None:
    closed = world.tag("closed", ended_ms=world.now_ms - WINDOW_MS)
    world.tag("open", ended_ms=world.now_ms - WINDOW_MS + 600_000)
    world.tag("alive")
    before = registry.list_tag_history(world.repository_id)
    with world.only_removes(tag=closed, manifest=closed.manifest):
        collect_batch(world.repository_id, policy=Policy(), limit=10)
    assert registry.list_tag_history(world.repository_id) == before


def test_immutable_tags_are_never_collected_where_they_may_not_expire(world: World) -> None:
    """Case 17."""
    tag = world.tag("v1", immutable=True, ended_ms=world.now_ms - WINDOW_MS - 1000)
    with world.unchanged():
        collect_batch(world.repository_id, policy=Policy(), limit=10)
    with world.only_removes(tag=tag, manifest=tag.manifest):
        collect_batch(world.repository_id, policy=Policy(immutable_tags_can_expire=True), limit=10)


def test_a_window_of_zero_restores_nothing_and_a_longer_one_restores_again(world: World) -> None:
    hasty = world.namespace("hasty", window_s=0)
    repository = world.repository("app", namespace=hasty)
    tag = world.tag("v1", repository=repository)
    registry.delete_tag("hasty/app", "v1")
    assert registry.list_tag_history("hasty/app").lifetimes == ()
    with pytest.raises(NotRestorable):
        registry.restore_tag("hasty/app", "v1", tag.manifest.digest)
    world.execute('UPDATE "user" SET removed_tag_expiration_s = 3600 WHERE id = %s', (int(hasty),))
    assert names(registry.list_tag_history("hasty/app")) == [("v1", True)]
    assert registry.restore_tag("hasty/app", "v1", tag.manifest.digest).reversion


def test_what_never_was_under_that_name_is_not_restored(world: World) -> None:
    gone = world.tag("v1", ended_ms=world.now_ms - 1000)
    other = world.tag("v2", ended_ms=world.now_ms - 1000)
    hidden = world.tag("v1", ended_ms=world.now_ms - 1001, hidden=True)
    elsewhere = world.repository("elsewhere")
    with world.changes() as changes:
        for repository, name, tag in (
            (world.repository_id, "v1", other),
            (world.repository_id, "v3", gone),
            (world.repository_id, "v1", hidden),
            (int(elsewhere), "v1", gone),
        ):
            with pytest.raises(NotRestorable):
                registry.restore_tag(repository, name, tag.manifest.digest)
    assert not changes


def test_an_immutable_tag_is_not_displaced_by_a_restore(world: World) -> None:
    gone = world.tag("v1", ended_ms=world.now_ms - 1000)
    world.tag("v1", immutable=True)
    with world.changes() as changes, pytest.raises(ImmutableTag):
        registry.restore_tag(world.repository_id, "v1", gone.manifest.digest)
    assert not changes


def test_history_is_paged_and_filtered_by_name(world: World) -> None:
    for number in range(5):
        world.tag("v1", ended_ms=world.now_ms - 1000 - number)
    world.tag("v2")
    world.tag("$temp-1", hidden=True)
    first = registry.list_tag_history(world.repository_id, limit=4)
    assert len(first.lifetimes) == 4 and first.lifetimes[0].tag.name == "v2"
    rest = registry.list_tag_history(world.repository_id, limit=4, before=first.next)
    assert len(rest.lifetimes) == 2 and rest.next is None
    shown = [line.tag.start_ms for line in (*first.lifetimes, *rest.lifetimes)]
    assert shown == sorted(shown, reverse=True)
    assert names(registry.list_tag_history(world.repository_id, name="v2")) == [("v2", False)]
    (line,) = rest.lifetimes[-1:]
    assert line.recoverable_until_ms == (line.tag.end_ms or 0) + WINDOW_MS


def test_dead_rows_are_put_beyond_restoring_each_at_its_own_millisecond(world: World, still: int) -> None:
    image = world.manifest()
    dead = [world.tag("v1", manifest=image, ended_ms=still - n) for n in (1, 2, 3)]
    world.tag("v1", manifest=image)
    world.tag("v1", ended_ms=still - 4)
    with world.changes() as changes:
        gone = registry.delete_tag_permanently(world.repository_id, "v1", image.digest)
    assert {tag.id for tag in gone} == set(changes.changed["tag"]) == set(dead)
    ends = sorted(tag.end_ms or 0 for tag in gone)
    assert ends == [still - WINDOW_MS - 2, still - WINDOW_MS - 1, still - WINDOW_MS]
    (event,) = changes.added["dredge_event"].values()
    assert event["type"] == "registry.tag.permanently_deleted"
    assert json.loads(event["data"])["recoverable_until_ms"] <= still
    with world.changes() as changes:
        assert registry.delete_tag_permanently(world.repository_id, "v1", image.digest) == ()
    assert not changes


def test_an_alive_tag_is_deleted_permanently_only_when_asked_for(world: World, still: int) -> None:
    index_child = world.manifest()
    image = world.manifest(children=[index_child])
    tag = world.tag("v1", manifest=image, start_ms=still - 1000)
    soon = still + 3_600_000
    held = world.tag("$temp-1", manifest=index_child, hidden=True, start_ms=still - 2000, ended_ms=soon)
    sibling = world.tag(image.digest.replace(":", "-") + ".sig")
    pulls = world.tag_pulls("v1")
    with world.changes() as changes:
        assert registry.delete_tag_permanently(world.repository_id, "v1", image.digest) == ()
    assert not changes
    with world.changes() as changes:
        registry.delete_tag_permanently(
            world.repository_id, "v1", image.digest, is_alive=True, include_submanifests=True
        )
    ends = {tag: change["lifetime_end_ms"][1] for tag, change in changes.changed["tag"].items()}
    assert ends == {tag: still - WINDOW_MS, held: still - WINDOW_MS, sibling: still}
    assert set(changes.removed) == {"tagpullstatistics"} and pulls in changes.removed["tagpullstatistics"]
    with pytest.raises(NotRestorable):
        registry.restore_tag(world.repository_id, "v1", image.digest)


def test_children_stay_with_the_switch_off_even_if_asked_for(world: World) -> None:
    child = world.manifest()
    image = world.manifest(children=[child])
    tag = world.tag("v1", manifest=image)
    world.hold(child)
    with world.changes() as changes:
        registry.delete_tag_permanently(
            world.repository_id,
            "v1",
            image.digest,
            is_alive=True,
            include_submanifests=True,
            policy=Policy(reset_child_manifest_expiration=False),
        )
    assert set(changes.changed["tag"]) == {tag}


def test_permanent_deletion_is_refused_where_it_is_switched_off_or_the_tag_is_immutable(world: World) -> None:
    tag = world.tag("v1", immutable=True)
    with world.changes() as changes:
        with pytest.raises(FeatureDisabled, match="DREDGE_PERMANENTLY_DELETE_TAGS"):
            registry.delete_tag_permanently(
                world.repository_id, "v1", tag.manifest.digest, policy=Policy(permanently_delete_tags=False)
            )
        with pytest.raises(ImmutableTag):
            registry.delete_tag_permanently(world.repository_id, "v1", tag.manifest.digest, is_alive=True)
    assert not changes
