"""Deleting: what goes with a tag, and what stays."""

from __future__ import annotations

import json

import pytest

from model import registry
from model.db.clock import now_ms
from model.errors import ImmutableTag, NoSuchRepository
from model.policy import Policy
from tests.support.world import Row, World

WINDOW_MS = 14 * 24 * 3_600_000


def cosign(manifest: Row, suffix: str = "sig") -> str:
    return f"{manifest.digest.replace(':', '-')}.{suffix}"


def events(world: World) -> list[tuple[str, str]]:
    return world.rows("SELECT type, subject FROM dredge_event ORDER BY id")


def test_a_deleted_tag_ends_now_and_says_until_when_it_can_be_restored(world: World) -> None:
    tag = world.tag("v1")
    world.tag("v2")
    with world.changes() as changes:
        deleted = registry.delete_tag(world.repository_id, "v1")
    assert deleted is not None and deleted.id == tag and deleted.end_ms is not None
    assert changes.changed == {"tag": {tag: {"lifetime_end_ms": (None, deleted.end_ms)}}}
    assert set(changes.added) == {"dredge_due", "dredge_event"} and not changes.removed
    assert world.now_ms <= deleted.end_ms <= now_ms()
    (row,) = changes.added["dredge_event"].values()
    assert row["type"] == "registry.tag.deleted" and row["subject"] == "acme/app:v1"
    assert json.loads(row["data"]) == {
        "namespace": "acme",
        "repository": "app",
        "repository_id": world.repository_id,
        "tag": "v1",
        "digest": tag.manifest.digest,
        "hidden": False,
        "ended_ms": deleted.end_ms,
        "recoverable_until_ms": deleted.end_ms + WINDOW_MS,
    }


def test_with_a_tag_go_its_notifications_and_its_pull_statistics(world: World) -> None:
    tag, other = world.tag("v1"), world.tag("v2")
    elsewhere = world.repository("elsewhere")
    told, pulls = world.notified(tag), world.tag_pulls("v1")
    world.notified(other)
    world.tag_pulls("v2")
    world.tag_pulls("v1", repository=elsewhere)
    with world.only_removes(tagnotificationsuccess=told, tagpullstatistics=pulls, may_change=["tag"]):
        registry.delete_tag("acme/app", "v1")


def test_a_missing_a_hidden_and_a_dead_tag_are_none_and_nothing_changes(world: World) -> None:
    world.tag("gone", ended_ms=world.now_ms - 1000)
    world.tag("hidden", hidden=True)
    with world.changes() as changes:
        for name in ("never", "gone", "hidden"):
            assert registry.delete_tag(world.repository_id, name) is None
    assert not changes


def test_an_expiring_tag_is_alive_and_ends_now(world: World) -> None:
    world.tag("soon", ended_ms=world.now_ms + 3_600_000)
    deleted = registry.delete_tag(world.repository_id, "soon")
    assert deleted is not None and deleted.end_ms is not None and deleted.end_ms < world.now_ms + 60_000


def test_an_immutable_tag_is_refused_unless_immutability_is_switched_off(world: World) -> None:
    world.tag("v1", immutable=True)
    with world.changes() as changes, pytest.raises(ImmutableTag, match="acme/app"):
        registry.delete_tag(world.repository_id, "v1")
    assert not changes
    assert registry.delete_tag(world.repository_id, "v1", policy=Policy(immutable_tags=False))


def test_two_alive_rows_of_one_name_both_end_each_at_its_own_millisecond(world: World) -> None:
    first, second = world.tag("v1"), world.tag("v1")
    with world.changes() as changes:
        registry.delete_tag(world.repository_id, "v1")
    ends = {changes.changed["tag"][tag]["lifetime_end_ms"][1] for tag in (first, second)}
    assert len(ends) == 2 and max(ends) - min(ends) == 1


def test_the_cosign_siblings_end_with_the_last_tag_of_their_subject(world: World) -> None:
    image = world.manifest()
    tag = world.tag("v1", manifest=image)
    siblings = [world.tag(cosign(image, suffix)) for suffix in ("sig", "att", "sbom")]
    siblings.append(world.tag("sha256-" + image.digest.removeprefix("sha256:")))  # a list of its referrers
    world.tag(cosign(image) + "x")
    world.tag(cosign(world.manifest()))
    told = world.notified(siblings[0])
    with world.changes() as changes:
        registry.delete_tag(world.repository_id, "v1")
    assert set(changes.changed["tag"]) == {tag, *siblings}
    assert set(changes.removed) == {"tagnotificationsuccess"}
    assert set(changes.removed["tagnotificationsuccess"]) == {told}
    assert sorted(events(world)) == sorted(
        ("registry.tag.deleted", f"acme/app:{tag.name}") for tag in (tag, *siblings)
    )


def test_cosign_siblings_stay_while_another_visible_tag_of_their_subject_lives(world: World) -> None:
    image = world.manifest()
    tag = world.tag("v1", manifest=image)
    world.tag("v2", manifest=image)
    world.tag(cosign(image))
    with world.changes() as changes:
        registry.delete_tag(world.repository_id, "v1")
    assert set(changes.changed["tag"]) == {tag}


def test_neither_a_hidden_nor_a_cosign_nor_a_dead_tag_of_the_subject_keeps_its_siblings(world: World) -> None:
    image = world.manifest()
    tag, sibling = world.tag("v1", manifest=image), world.tag(cosign(image))
    world.tag("$temp-x", manifest=image, hidden=True)
    world.tag("old", manifest=image, ended_ms=world.now_ms - 1000)
    world.tag(cosign(world.manifest(), "att"), manifest=image)
    with world.changes() as changes:
        registry.delete_tag(world.repository_id, "v1")
    assert set(changes.changed["tag"]) == {tag, sibling}


def test_an_immutable_sibling_stays_and_one_in_another_repository_too(world: World) -> None:
    image = world.manifest()
    tag = world.tag("v1", manifest=image)
    world.tag(cosign(image), immutable=True)
    world.tag(cosign(image), repository=world.repository("elsewhere"))
    with world.changes() as changes:
        registry.delete_tag(world.repository_id, "v1")
    assert set(changes.changed["tag"]) == {tag}


def test_the_signature_of_a_signature_ends_with_it(world: World) -> None:
    image, signature = world.manifest(), world.manifest()
    tag = world.tag("v1", manifest=image)
    first = world.tag(cosign(image), manifest=signature)
    second = world.tag(cosign(signature))
    with world.changes() as changes:
        registry.delete_tag(world.repository_id, "v1")
    assert set(changes.changed["tag"]) == {tag, first, second}


def test_deleting_the_tag_of_an_index_ends_its_childrens_temporary_tags(world: World) -> None:
    soon = world.now_ms + 3_600_000
    grandchild, other = world.manifest(), world.manifest()
    child = world.manifest(children=[grandchild])
    index = world.manifest(children=[child])
    tag = world.tag("v1", manifest=index)
    ended = [world.hold(child), world.hold(grandchild)]
    world.hold(other)
    world.tag("$temp-4", manifest=child, hidden=True)
    world.tag("$temp-5", manifest=child, hidden=True, ended_ms=world.now_ms - 1000)
    world.tag("shown", manifest=child, ended_ms=soon)
    with world.changes() as changes:
        registry.delete_tag(world.repository_id, "v1")
    assert set(changes.changed["tag"]) == {tag, *ended}
    assert events(world) == [("registry.tag.deleted", "acme/app:v1")]


def test_a_push_that_began_after_the_deleted_tag_keeps_its_children(world: World) -> None:
    """Of the same index, say: its children are pushed again and held, and its own row comes last."""
    child = world.manifest()
    tag = world.tag("v1", manifest=world.manifest(children=[child]))
    world.hold(child, age_ms=500)
    with world.changes() as changes:
        registry.delete_tag(world.repository_id, "v1")
    assert set(changes.changed["tag"]) == {tag}


def test_the_childrens_temporary_tags_stay_where_the_switch_is_off(world: World) -> None:
    child = world.manifest()
    tag = world.tag("v1", manifest=world.manifest(children=[child]))
    world.hold(child)
    with world.changes() as changes:
        registry.delete_tag(world.repository_id, "v1", policy=Policy(reset_child_manifest_expiration=False))
    assert set(changes.changed["tag"]) == {tag}


def test_a_cycle_of_indexes_ends(world: World) -> None:
    child = world.manifest()
    index = world.manifest(children=[child])
    world.child(child, index)
    tag = world.tag("v1", manifest=index)
    with world.changes() as changes:
        registry.delete_tag(world.repository_id, "v1")
    assert set(changes.changed["tag"]) == {tag}


def test_all_tags_of_a_manifest_end_hidden_ones_too(world: World) -> None:
    image = world.manifest(subject="sha256:" + "a" * 64)
    ended = [world.tag(name, manifest=image) for name in ("v1", "v2")]
    ended.append(world.tag("$temp-1", manifest=image, hidden=True))
    sibling = world.tag(cosign(image))
    world.tag("old", manifest=image, ended_ms=world.now_ms - 1000)
    world.tag("other")
    with world.changes() as changes:
        deleted = registry.delete_tags_for_manifest(world.repository_id, image.digest)
    assert {tag.id for tag in deleted} == set(ended)
    assert set(changes.changed["tag"]) == {*ended, sibling}
    assert len(changes.added["dredge_event"]) == 4
    with world.changes() as changes:
        assert registry.delete_tags_for_manifest(world.repository_id, image.digest) == ()
    assert not changes


def test_one_immutable_tag_keeps_all_tags_of_its_manifest(world: World) -> None:
    image = world.manifest()
    world.tag("v1", manifest=image)
    world.tag("v2", manifest=image, immutable=True)
    with world.changes() as changes, pytest.raises(ImmutableTag):
        registry.delete_tags_for_manifest("acme/app", image.digest)
    assert not changes


def test_only_the_manifest_of_this_repository_loses_its_tags(world: World) -> None:
    image = world.manifest()
    tag = world.tag("v1", manifest=image)
    elsewhere = world.repository("elsewhere")
    world.tag("v1", manifest=world.manifest(elsewhere, digest=image.digest))
    with world.changes() as changes:
        registry.delete_tags_for_manifest(world.repository_id, image.digest)
    assert set(changes.changed["tag"]) == {tag}


def test_a_repository_that_is_unknown_or_marked_for_deletion_is_an_error(world: World) -> None:
    marked = world.repository("marked")
    world.tag("v1", repository=marked)
    world.mark_deleted(marked)
    with world.changes() as changes:
        for repository in (int(marked), 999_999, "acme/none", "nobody/app"):
            with pytest.raises(NoSuchRepository):
                registry.delete_tag(repository, "v1")
    assert not changes
