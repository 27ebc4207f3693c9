"""A repository's collection: what goes, what stays, and that a bystander never notices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model.db.connection import execute
from model.gc.collect import Batch, collect_batch
from model.policy import DEFAULT, HOUR_MS, Policy
from tests.support.world import World

CASCADE = replace(DEFAULT, referrers="cascade")


@pytest.fixture(autouse=True)
def bystander(world: World) -> None:
    """A tagged image that shares nothing, and one that is still inside its window."""
    world.tag("bystander", manifest=world.manifest(blobs=[world.blob()], labels=2))
    world.tag("recoverable", manifest=world.manifest(blobs=[world.blob()]), ended_ms=world.now_ms - HOUR_MS)


def long_ago(world: World) -> int:
    return world.now_ms - 1000 * 24 * HOUR_MS


def collect(world: World, policy: Policy = DEFAULT, limit: int = 100) -> Batch:
    return collect_batch(world.repository_id, policy=policy, limit=limit)


def candidates(world: World) -> set[int]:
    return {id for (id,) in world.rows("SELECT blob_id FROM dredge_blob_candidate")}


def test_a_tag_past_its_window_goes_with_its_manifest_and_every_row_of_it(world: World) -> None:
    blob = world.blob()
    manifest = world.manifest(blobs=[blob])
    label = world.label(manifest)
    world.security(manifest)
    pulls = world.manifest_pulls(manifest)
    name_pulls = world.tag_pulls("old")
    tag = world.tag("old", manifest=manifest, ended_ms=long_ago(world))
    world.notified(tag)
    with world.only_removes(
        tag=tag, manifest=manifest, label=label, manifestpullstatistics=pulls, tagpullstatistics=name_pulls
    ):
        batch = collect(world)
    assert (batch.tags, batch.manifests, batch.blobs) == (1, ((manifest.digest, None),), (blob.digest,))
    assert candidates(world) == {blob}


def test_a_second_run_finds_nothing(world: World) -> None:
    world.tag("old", ended_ms=long_ago(world))
    collect(world)
    with world.changes() as changes:
        assert not collect(world).rows
    assert not changes


def test_a_manifest_with_another_tag_inside_its_window_stays(world: World) -> None:
    manifest = world.manifest(blobs=[world.blob()])
    gone = world.tag("old", manifest=manifest, ended_ms=long_ago(world))
    world.tag("again", manifest=manifest, ended_ms=world.now_ms - HOUR_MS)
    with world.only_removes(tag=gone):
        collect(world)
    assert not candidates(world)


def test_case_16_the_living_tag_of_the_name_keeps_its_pulls(world: World) -> None:
    world.tag_pulls("latest")
    old = world.tag("latest", ended_ms=long_ago(world))
    world.tag("latest")
    with world.only_removes(tag=old, manifest=old.manifest):
        collect(world)


def test_case_17_immutable_tags_stay_unless_they_may_expire(world: World) -> None:
    tag = world.tag("release", ended_ms=long_ago(world), immutable=True)
    with world.unchanged():
        collect(world)
    with world.only_removes(tag=tag, manifest=tag.manifest):
        collect(world, replace(DEFAULT, immutable_tags_can_expire=True))


def test_case_19_a_child_shared_by_a_living_and_a_dead_index_lives(world: World) -> None:
    shared, lonely = world.manifest(blobs=[world.blob()]), world.manifest(blobs=[world.blob()])
    dead = world.manifest(children=[shared, lonely])
    world.tag("alive", manifest=world.manifest(children=[shared]))
    tag = world.tag("dead", manifest=dead, ended_ms=long_ago(world))
    with world.only_removes(tag=tag, manifest=[dead, lonely]):
        collect(world)


def test_case_21_an_index_of_indexes_loses_the_inner_tag_only(world: World) -> None:
    leaf = world.manifest()
    inner = world.manifest(children=[leaf])
    world.tag("outer", manifest=world.manifest(children=[inner]))
    tag = world.tag("inner", manifest=inner, ended_ms=long_ago(world))
    with world.only_removes(tag=tag):
        collect(world)


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_case_23_a_deep_wide_graph_with_a_cycle_goes_in_bounded_batches(world: World, limit: int) -> None:
    leaves = [world.manifest() for _ in range(30)]
    top = world.manifest(children=leaves)
    chain = [top]
    for _ in range(20):
        top = world.manifest(children=[top])
        chain.append(top)
    one = world.manifest()
    two = world.manifest(children=[one])
    world.child(one, two)
    tags = [world.tag(f"old{n}", manifest=m, ended_ms=long_ago(world)) for n, m in enumerate([top, one])]
    with world.only_removes(tag=tags, manifest=[*leaves, *chain, one, two]):
        while collect(world, limit=limit).has_more:
            pass


def test_case_24_a_child_of_a_dead_index_goes_with_its_referrer_under_cascade(world: World) -> None:
    child = world.manifest(blobs=[world.blob()])
    index = world.manifest(children=[child])
    signature = world.manifest(subject=child.digest)
    hidden = world.tag("$temp-1", manifest=signature, hidden=True, start_ms=long_ago(world))
    tag = world.tag("old", manifest=index, ended_ms=long_ago(world))
    with world.only_removes(tag=[tag, hidden], manifest=[index, child, signature]):
        collect(world, CASCADE)


def test_case_25_a_signed_image_goes_with_its_signatures_under_cascade_and_stays_under_pin(
    world: World,
) -> None:
    image = world.manifest(blobs=[world.blob()])
    signature = world.manifest(subject=image.digest, blobs=[world.blob()])
    countersignature = world.manifest(subject=signature.digest, blobs=[world.blob()])
    hidden = [
        world.tag(f"$temp-{n}", manifest=m, hidden=True, start_ms=long_ago(world))
        for n, m in enumerate([signature, countersignature])
    ]
    tag = world.tag("signed", manifest=image, ended_ms=long_ago(world))
    with world.only_removes(tag=tag):
        collect(world)
    world.execute(
        "INSERT INTO dredge_manifest_candidate (repository_id, manifest_id, created_ms) VALUES (%s, %s, 0)",
        (world.repository_id, int(image)),
    )
    with world.only_removes(tag=hidden, manifest=[image, signature, countersignature]):
        collect(world, CASCADE)


def test_a_referrer_with_a_visible_tag_outlives_its_subject_under_cascade(world: World) -> None:
    image = world.manifest()
    report = world.manifest(subject=image.digest)
    world.tag("$temp-1", manifest=report, hidden=True)
    world.tag("sbom", manifest=report)
    tag = world.tag("old", manifest=image, ended_ms=long_ago(world))
    with world.only_removes(tag=tag, manifest=image):
        collect(world, CASCADE)


def test_a_dead_referrers_subject_is_judged_next_under_pin(world: World) -> None:
    image = world.manifest()
    signature = world.manifest(subject=image.digest)
    tags = [
        world.tag(f"t{n}", manifest=m, ended_ms=long_ago(world)) for n, m in enumerate([image, signature])
    ]
    with world.only_removes(tag=tags, manifest=[image, signature]):
        collect(world)


@pytest.mark.parametrize(("age_ms", "stays"), [(HOUR_MS, True), (48 * HOUR_MS, False)])
def test_case_26_a_referrer_waits_for_its_subject_for_a_grace_period(
    world: World, age_ms: int, stays: bool
) -> None:
    early = world.manifest(subject="sha256:" + "0" * 64)
    hidden = world.tag("$temp-1", manifest=early, hidden=True, start_ms=world.now_ms - age_ms)
    tag = world.tag("named", manifest=early, ended_ms=long_ago(world))
    expected: dict[str, Any] = {"tag": [tag]} if stays else {"tag": [tag, hidden], "manifest": [early]}
    with world.only_removes(**expected):
        collect(world, CASCADE)


def test_case_27_a_subject_in_another_repository_keeps_nothing_here(world: World) -> None:
    other = world.repository("other")
    image = world.manifest(other)
    world.tag("image", manifest=image, repository=other)
    signature = world.manifest(subject=image.digest)
    hidden = world.tag("$temp-1", manifest=signature, hidden=True, start_ms=long_ago(world))
    tag = world.tag("named", manifest=signature, ended_ms=long_ago(world))
    with world.only_removes(tag=[tag, hidden], manifest=signature):
        collect(world, CASCADE)


def test_case_29_the_same_digest_in_another_repository_stays(world: World) -> None:
    other = world.repository("other")
    blob = world.blob()
    here = world.manifest(blobs=[blob], content="{}")
    there = world.manifest(other, blobs=[blob], content="{}")
    world.security(there)
    world.tag("alive", manifest=there, repository=other)
    tag = world.tag("old", manifest=here, ended_ms=long_ago(world))
    with world.only_removes(tag=tag, manifest=here):
        collect(world)


def test_case_31_a_manifest_that_cannot_be_parsed_is_judged_by_its_rows(world: World) -> None:
    child = world.manifest()
    broken = world.manifest(children=[child], content="\N{PILE OF POO} not json")
    tag = world.tag("broken", manifest=broken)
    gone = world.tag("child", manifest=child, ended_ms=long_ago(world))
    with world.only_removes(tag=gone):
        collect(world)
    world.execute("UPDATE tag SET lifetime_end_ms = %s WHERE id = %s", (long_ago(world), int(tag)))
    with world.only_removes(tag=tag, manifest=[broken, child]):
        collect(world)


@pytest.mark.parametrize("how", ["disabled", "marked"])
def test_a_disabled_namespace_and_a_repository_marked_for_deletion_are_left_alone(
    world: World, how: str
) -> None:
    world.tag("old", ended_ms=long_ago(world))
    if how == "disabled":
        world.execute('UPDATE "user" SET enabled = false')
    else:
        world.mark_deleted(world.default_repository)
    with world.changes() as changes:
        assert collect(world).scope is None
    assert not changes


def test_case_42_expired_push_markers_and_unfinished_uploads_go(world: World) -> None:
    blob = world.blob()
    marker = world.uploaded(blob, expires_ms=world.now_ms - 1000)
    world.uploaded(world.blob())
    stale = world.upload(created_ms=world.now_ms - 72 * HOUR_MS)
    world.upload()
    with world.only_removes(uploadedblob=marker, blobupload=stale):
        collect(world)
    assert candidates(world) == {blob}
    assert world.rows("SELECT path, location FROM dredge_tombstone") == [
        (f"uploads/{stale.uuid}", "local_us")
    ]


def test_case_49_quota_falls_when_the_last_reference_of_each_scope_goes(world: World) -> None:
    other = world.repository("other")
    only, shared, kept = world.blob(1), world.blob(10), world.blob(100)
    world.tag("there", manifest=world.manifest(other, blobs=[shared]), repository=other)
    world.tag("alive", manifest=world.manifest(blobs=[kept]))
    for n in range(2):
        manifest = world.manifest(blobs=[only, shared, kept])
        world.tag(f"old{n}", manifest=manifest, ended_ms=long_ago(world))
    before = world.quota()
    world.quota(other)
    collect(world, limit=1)
    assert _quota(world) == (before.bytes, before.namespace_bytes)
    collect(world, limit=1)
    assert _quota(world) == (before.bytes - 11, before.namespace_bytes - 1)
    assert _quota(world) == (world.quota().bytes, world.quota().namespace_bytes)


def test_case_48_a_blob_with_many_references_elsewhere_is_accounted_by_its_namespace(world: World) -> None:
    layer = world.blob(7)
    elsewhere = world.repository("busy", namespace=world.namespace("busy"))
    for n in range(70):
        world.tag(f"t{n}", manifest=world.manifest(elsewhere, blobs=[layer]), repository=elsewhere)
    world.tag("old", manifest=world.manifest(blobs=[layer]), ended_ms=long_ago(world))
    before = world.quota()
    collect(world)
    assert _quota(world) == (before.bytes - 7, before.namespace_bytes - 7)


def test_a_living_tag_that_was_linked_to_a_collected_one_loses_the_link(world: World) -> None:
    old = world.tag("old", ended_ms=long_ago(world))
    linked = world.tag("linked", linked=int(old))
    with world.changes() as changes:
        collect(world)
    assert set(changes.removed["tag"]) == {old} and set(changes.removed["manifest"]) == {old.manifest}
    assert set(changes.changed["tag"]) == {linked}
    assert world.value("SELECT linked_tag_id FROM tag WHERE id = %s", (int(linked),)) is None


def test_a_living_tag_that_was_linked_to_a_dead_referrers_own_loses_the_link(world: World) -> None:
    image = world.manifest()
    world.tag("old", manifest=image, ended_ms=long_ago(world))
    signature = world.manifest(subject=image.digest)
    hidden = world.tag("$temp-1", manifest=signature, hidden=True, start_ms=long_ago(world))
    linked = world.tag("linked", linked=int(hidden))
    with world.changes() as changes:
        collect(world, CASCADE)
    assert set(changes.removed["manifest"]) == {image, signature}
    assert set(changes.changed["tag"]) == {linked}
    assert world.value("SELECT linked_tag_id FROM tag WHERE id = %s", (int(linked),)) is None


def test_the_batch_is_told_as_events_and_history(world: World) -> None:
    tag = world.tag("old", ended_ms=long_ago(world))
    collect(world)
    types = [type for (type,) in world.rows("SELECT type FROM dredge_event ORDER BY id")]
    assert types == ["registry.manifest.collected", "registry.repository.collected"]
    assert world.rows("SELECT stage, tags, manifests FROM dredge_collection") == [("collect", 1, 1)]
    assert tag.manifest.digest in world.value("SELECT data FROM dredge_event ORDER BY id LIMIT 1")


def test_the_statements_of_a_batch_do_not_depend_on_its_size(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model.db.connection import db

    counts = []
    real = type(db.obj).execute_sql

    def counted(*arguments: Any, **options: Any) -> Any:
        counts.append(1)
        return real(*arguments, **options)

    monkeypatch.setattr(type(db.obj), "execute_sql", counted)
    for turn, size in enumerate((1, 1, 40)):
        for n in range(size):
            manifest = world.manifest(blobs=[world.blob()], labels=1)
            world.tag(f"old{turn}-{n}", manifest=manifest, ended_ms=long_ago(world))
        counts.clear()
        assert collect(world).tags == size
        if size == 1:
            few = len(counts)
    assert len(counts) == few <= 12


def _quota(world: World) -> tuple[int, int]:
    return (
        world.value(
            "SELECT size_bytes FROM quotarepositorysize WHERE repository_id = %s", (world.repository_id,)
        ),
        world.value(
            "SELECT size_bytes FROM quotanamespacesize WHERE namespace_user_id = %s", (world.namespace_id,)
        ),
    )


def test_case_13_a_window_that_is_lengthened_wins_over_a_running_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model.errors import Contended
    from model.gc import collect as module

    world.tag("old", ended_ms=world.now_ms - 20 * 24 * HOUR_MS)
    real = module._close

    def lengthen(*arguments: Any) -> None:
        world.execute('UPDATE "user" SET removed_tag_expiration_s = 28 * 86400')
        real(*arguments)

    monkeypatch.setattr(module, "_close", lengthen)
    with world.only_removes(may_change=["user"]), pytest.raises(Contended):
        collect(world)
    assert execute("SELECT 1")


def test_case_20_a_manifest_that_somebody_is_adopting_is_judged_later(world: World) -> None:
    child = world.manifest(blobs=[world.blob()])
    gone = world.tag("old", manifest=child, ended_ms=long_ago(world))
    world.execute("BEGIN")
    world.rows("SELECT FROM manifest WHERE id = %s FOR KEY SHARE", (int(child),))
    try:
        assert collect(world).tags == 1
    finally:
        world.execute("ROLLBACK")
    assert world.rows("SELECT manifest_id FROM dredge_manifest_candidate") == [(child,)]
    assert not world.rows("SELECT FROM tag WHERE id = %s", (int(gone),))
    with world.only_removes(manifest=child):
        collect(world)


def test_a_tag_that_ended_before_1970_goes_too(world: World) -> None:
    """A window of centuries puts the end of a tag that is deleted for good before the epoch."""
    owner = world.namespace(window_s=10**10)
    repository = world.repository(namespace=owner)
    tag = world.tag("old", manifest=world.manifest(repository), ended_ms=world.now_ms - 10**13 - 1)
    with world.only_removes(tag=tag, manifest=tag.manifest):
        collect_batch(repository, policy=DEFAULT, limit=10)
