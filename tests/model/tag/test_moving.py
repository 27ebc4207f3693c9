"""Creating and moving tags, their expiry and their immutability."""

from __future__ import annotations

import json

import pytest

from model import registry
from model.db.clock import now_ms
from model.errors import BadInput, FeatureDisabled, ImmutableTag, ManifestGone
from model.policy import Policy
from model.registry import operation
from model.tag import lock_repository_tags
from tests.support.world import World

HOUR_MS = 3_600_000
WEEK_MS = 7 * 24 * HOUR_MS


def test_a_new_tag_begins_now_and_never_ends(world: World) -> None:
    image = world.manifest()
    world.tag("other")
    with world.changes() as changes:
        made = registry.create_tag(world.repository_id, "v1", image.digest)
    assert not changes.changed and not changes.removed
    row = changes.added["tag"][made.id]
    assert (row["name"], row["manifest_id"], row["lifetime_end_ms"]) == ("v1", int(image), None)
    assert not (row["hidden"] or row["reversion"] or row["immutable"])
    assert world.now_ms <= row["lifetime_start_ms"] <= now_ms()
    (event,) = changes.added["dredge_event"].values()
    assert event["type"] == "registry.tag.created"
    assert json.loads(event["data"])["ended_ms"] is None


def test_a_name_that_moves_ends_its_row_and_keeps_what_is_noted_under_it(world: World) -> None:
    old, image = world.tag("v1"), world.manifest()
    world.tag_pulls("v1")
    world.notified(old)
    with world.changes() as changes:
        made = registry.retarget_tag("acme/app", "v1", image.digest)
    assert changes.changed == {"tag": {old: {"lifetime_end_ms": (None, made.start_ms)}}}
    assert not changes.removed and set(changes.added) == {"tag", "dredge_event"}
    (event,) = changes.added["dredge_event"].values()
    assert event["type"] == "registry.tag.retargeted" and event["subject"] == "acme/app:v1"
    data = json.loads(event["data"])
    assert (data["digest"], data["previous_digest"]) == (image.digest, old.manifest.digest)


def test_latest_moves_there_and_back_in_one_millisecond(world: World) -> None:
    """Cases 10 and 18."""
    one, two = world.manifest(), world.manifest()
    world.tag("bystander", manifest=two)
    for image in (one, two) * 6:
        registry.retarget_tag(world.repository_id, "latest", image.digest)
    alive = registry.get_tag(world.repository_id, "latest")
    assert alive is not None and alive.digest == two.digest
    ends = [end for (end,) in world.rows("SELECT lifetime_end_ms FROM tag WHERE name = 'latest' ORDER BY id")]
    assert len(ends) == 12 and len(set(ends)) == 12 and ends[-1] is None


def test_a_taken_millisecond_gives_way_to_the_free_one_before_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 18: other software's rows end in each of the last 500 milliseconds but one."""
    moment_ms = world.now_ms
    monkeypatch.setattr(
        operation, "lock_repository_tags", lambda id: min(moment_ms, lock_repository_tags(id))
    )
    image = world.manifest()
    world.rows(
        "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, tag_kind_id,"
        " hidden)"
        " SELECT 'v1', %s, %s, 0, n, k.id, true FROM generate_series(%s::bigint, %s::bigint) n, tagkind k",
        (world.repository_id, int(image), moment_ms - 500, moment_ms),
    )
    world.execute("DELETE FROM tag WHERE lifetime_end_ms = %s", (moment_ms - 450,))
    tag = world.tag("v1", manifest=image)
    before = world.value("SELECT count(*) FROM tag")
    deleted = registry.delete_tag(world.repository_id, "v1")
    assert deleted is not None and deleted.id == tag and deleted.end_ms == moment_ms - 450
    assert world.value("SELECT count(*) FROM tag") == before == 501


def test_an_expiry_is_an_end_in_the_future(world: World) -> None:
    image = world.manifest()
    made = registry.create_tag(world.repository_id, "v1", image.digest, expires_ms=world.now_ms + HOUR_MS)
    assert world.value("SELECT lifetime_end_ms FROM tag WHERE id = %s", (made.id,)) == world.now_ms + HOUR_MS
    with world.changes() as changes:
        for wrong in (world.now_ms - 1, 0, -5, True, "soon"):
            with pytest.raises(BadInput):
                registry.create_tag(world.repository_id, "v2", image.digest, expires_ms=wrong)  # type: ignore[arg-type]
    assert not changes


def test_a_manifest_that_is_gone_is_a_clear_error_and_nothing_changes(world: World) -> None:
    world.tag("v1")
    elsewhere = world.manifest(world.repository("elsewhere"))
    with world.changes() as changes:
        for missing in ("sha256:" + "0" * 64, elsewhere.digest, 999_999):
            with pytest.raises(ManifestGone, match="push it again"):
                registry.retarget_tag(world.repository_id, "v1", missing)
    assert not changes


def test_an_immutable_tag_does_not_move_but_may_be_pushed_again(world: World) -> None:
    tag, image = world.tag("v1", immutable=True), world.manifest()
    with world.changes() as changes:
        with pytest.raises(ImmutableTag):
            registry.retarget_tag(world.repository_id, "v1", image.digest)
        assert registry.retarget_tag(world.repository_id, "v1", tag.manifest.digest).id == tag
    assert not changes
    moved = registry.retarget_tag(
        world.repository_id, "v1", image.digest, policy=Policy(immutable_tags=False)
    )
    assert moved.digest == image.digest


def test_the_siblings_of_a_displaced_manifest_end_and_those_of_a_kept_one_stay(world: World) -> None:
    old, new = world.manifest(), world.manifest()
    tag = world.tag("v1", manifest=old)
    sibling = world.tag(old.digest.replace(":", "-") + ".sig")
    world.tag(new.digest.replace(":", "-") + ".sig")
    with world.changes() as changes:
        registry.retarget_tag(world.repository_id, "v1", old.digest)
    again = max(changes.added["tag"])
    assert set(changes.changed["tag"]) == {tag}
    with world.changes() as changes:
        registry.retarget_tag(world.repository_id, "v1", new.digest)
    assert set(changes.changed["tag"]) == {again, sibling}


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (1_000, HOUR_MS),
        (-WEEK_MS, HOUR_MS),
        (2 * HOUR_MS, 2 * HOUR_MS),
        (104 * WEEK_MS, 104 * WEEK_MS),
        (105 * WEEK_MS, 104 * WEEK_MS),
        (None, None),
    ],
)
def test_an_expiry_is_between_an_hour_and_104_weeks_after_the_start(
    world: World, asked: int | None, given: int | None
) -> None:
    start_ms = world.now_ms
    tag = world.tag("v1", start_ms=start_ms, ended_ms=start_ms + 5 * HOUR_MS)
    world.tag("v2")
    with world.changes() as changes:
        changed = registry.change_tag_expiration(
            world.repository_id, "v1", None if asked is None else start_ms + asked
        )
    wanted = None if given is None else start_ms + given
    assert changed is not None and changed.end_ms == wanted
    assert changes.changed == {"tag": {tag: {"lifetime_end_ms": (start_ms + 5 * HOUR_MS, wanted)}}}
    (event,) = changes.added["dredge_event"].values()
    assert event["type"] == "registry.tag.expiry_changed"


def test_a_new_expiry_is_announced_again(world: World) -> None:
    tag, other = world.tag("v1", start_ms=world.now_ms), world.tag("v2")
    told = world.notified(tag)
    world.notified(other)
    world.tag_pulls("v1")
    with world.only_removes(tagnotificationsuccess=told, may_change=["tag"]):
        registry.change_tag_expiration(world.repository_id, "v1", world.now_ms + 2 * HOUR_MS)


def test_an_expiry_that_only_the_past_has_room_for_is_refused(world: World) -> None:
    world.tag("old", start_ms=world.now_ms - 110 * WEEK_MS)
    world.tag("young", start_ms=world.now_ms - 2 * HOUR_MS)
    with world.changes() as changes:
        for name, wanted in (("old", WEEK_MS), ("young", -HOUR_MS)):
            with pytest.raises(BadInput, match="delete it instead"):
                registry.change_tag_expiration(world.repository_id, name, world.now_ms + wanted)
    assert not changes


def test_an_expiry_that_is_there_already_changes_nothing(world: World) -> None:
    world.tag("v1", ended_ms=world.now_ms + 2 * HOUR_MS, start_ms=world.now_ms)
    with world.changes() as changes:
        registry.change_tag_expiration(world.repository_id, "v1", world.now_ms + 2 * HOUR_MS)
        assert registry.change_tag_expiration(world.repository_id, "none", None) is None
    assert not changes


def test_two_rows_of_one_name_may_not_expire_in_one_millisecond(world: World) -> None:
    end_ms = world.now_ms + 2 * HOUR_MS
    world.tag("v1", hidden=True, ended_ms=end_ms)
    world.tag("v1", start_ms=world.now_ms)
    changed = registry.change_tag_expiration(world.repository_id, "v1", end_ms)
    assert changed is not None and changed.end_ms == end_ms - 1


def test_the_expiry_of_an_immutable_tag_is_refused(world: World) -> None:
    world.tag("v1", immutable=True)
    with world.changes() as changes:
        for end_ms in (None, world.now_ms + 2 * HOUR_MS):
            with pytest.raises(ImmutableTag):
                registry.change_tag_expiration(world.repository_id, "v1", end_ms)
    assert not changes


def test_a_tag_becomes_immutable_and_mutable_again(world: World) -> None:
    tag = world.tag("v1")
    world.tag("v2")
    with world.changes() as changes:
        registry.set_tag_immutable(world.repository_id, "v1")
        registry.set_tag_immutable(world.repository_id, "v1", True)
    assert changes.changed == {"tag": {tag: {"immutable": (False, True)}}}
    registry.set_tag_immutable(world.repository_id, "v1", False)
    assert registry.delete_tag(world.repository_id, "v1") is not None
    assert registry.set_tag_immutable(world.repository_id, "v1") is None


def test_a_tag_with_an_expiry_becomes_immutable_only_where_immutable_tags_can_expire(world: World) -> None:
    world.tag("v1", ended_ms=world.now_ms + HOUR_MS)
    with world.changes() as changes:
        with pytest.raises(FeatureDisabled, match="remove its expiry"):
            registry.set_tag_immutable(world.repository_id, "v1")
        with pytest.raises(FeatureDisabled, match="DREDGE_IMMUTABLE_TAGS"):
            registry.set_tag_immutable(world.repository_id, "v1", policy=Policy(immutable_tags=False))
    assert not changes
    policy = Policy(immutable_tags_can_expire=True)
    made = registry.set_tag_immutable(world.repository_id, "v1", policy=policy)
    assert made is not None and made.immutable
