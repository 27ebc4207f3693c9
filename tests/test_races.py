"""The nasty cases that are races, each explored statement by statement (`docs/safety.md` has the whole list).

`quick` runs the most telling schedules of each, `deep` (slow) all that the bounds allow.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from model import blob, namespace
from model.clock import NOW_MS_SQL, now_ms
from model.database import execute, transaction
from model.errors import (
    BlobGone,
    Contended,
    DigestBusy,
    ManifestGone,
    NoSuchBlob,
    NoSuchManifest,
    NotRestorable,
)
from model.gc.unknown import sight_objects
from model.policy import DEFAULT, HOUR_MS, Policy
from tests.arena import Arena, BlobClaim, Broken
from tests.explorer import Explorer, Race, Report
from tests.explorer_steps import Outcome
from tests.pipeline import LOCATION
from tests.races import Cast, gone_tag
from tests.world import World, digest_of

CASCADE = replace(DEFAULT, referrers="cascade")
SEED = int(os.environ.get("SEED", "1"))
QUICK, DEEP = 10, int(os.environ.get("DEPTH", "60"))
Explore = Callable[..., Report]


@pytest.fixture
def policy() -> Policy:
    return DEFAULT


@pytest.fixture
def cast(world: World, policy: Policy) -> Iterator[Cast]:
    """A registry with a bystander, exact quota and room for more."""
    with Arena(world, policy=policy) as arena:
        made = Cast(arena)
        standing = made.have(made.image(made.layer("bystander")))
        world.tag("bystander", manifest=standing)
        yield made


@pytest.fixture(
    params=[pytest.param(QUICK, id="quick"), pytest.param(DEEP, id="deep", marks=pytest.mark.slow)]
)
def explore(request: pytest.FixtureRequest, cast: Cast) -> Iterator[Explore]:
    """Explore a race of named actors; each may end with success or one of the `errors`."""

    def run(
        *,
        errors: tuple[type[Exception], ...] = (),
        check: Callable[[Mapping[str, Outcome]], None] = lambda outcomes: None,
        quota: bool = True,
        **actors: Callable[[], Any],
    ) -> Report:
        if quota:
            for (repository,) in cast.world.rows("SELECT id FROM repository"):
                cast.world.quota(repository)
        cast.arena.save()

        def documented(outcomes: Mapping[str, Outcome]) -> None:
            for name, outcome in outcomes.items():
                if outcome.error is not None and not isinstance(outcome.error, errors):
                    raise Broken(f"{name} ended with {outcome.error!r}") from outcome.error
            check(outcomes)

        explorer = Explorer(cast.arena, limit=request.param, preemptions=3, seed=SEED)
        try:
            report = explorer.explore(Race(request.node.name, actors, documented))
        finally:
            explorer.close()
        sys.stdout.write(f"{report} seed={SEED}\n")
        return report

    yield run


# ---------------------------------------------------------------------------------- push races


def test_case_01_a_push_finds_the_object_and_the_eraser_takes_it(cast: Cast, explore: Explore) -> None:
    dying = cast.layer("dying")
    cast.world.insert("dredge_blob_candidate", blob_id=dying, created_ms=1)
    explore(push=cast.push_blob("dying"), review=cast.review, erase=cast.erase)


def test_case_01_a_push_meets_the_tombstone_of_its_digest(cast: Cast, explore: Explore) -> None:
    path = blob.object_path(digest_of("dead"), True, "")
    cast.arena.store.objects[path] = b"dead"
    stone = {"digest": digest_of("dead"), "path": path, "location": LOCATION, "size": 4}
    cast.world.insert("dredge_tombstone", **stone, created_ms=1, due_ms=1)
    explore(push=cast.push_blob("dead"), erase=cast.erase, again=cast.erase)


def test_case_02_a_new_blob_between_its_row_and_its_marker(cast: Cast, explore: Explore) -> None:
    cast.world.upload(created_ms=1)
    explore(push=cast.push_blob("new"), collect=cast.collect(), review=cast.review)


def test_case_03_a_manifest_that_needs_a_blob_whose_last_user_dies(cast: Cast, explore: Explore) -> None:
    shared = cast.layer("shared")
    gone_tag(cast.world, cast.have(cast.image(shared, note="old")))
    report = explore(
        push=cast.push_image(cast.image(shared, note="new")),
        collect=cast.collect(),
        review=cast.review,
        errors=(NoSuchBlob,),
    )
    assert len(report.outcomes) == 2


def test_case_04_a_mount_while_the_last_user_is_collected(cast: Cast, explore: Explore) -> None:
    shared = cast.layer("shared")
    gone_tag(cast.world, cast.have(cast.image(shared)))
    other = cast.world.repository()
    image = cast.image(shared, note="mounted")
    explore(
        mount=cast.mount(shared.digest, cast.world.repository_id, other, image),
        collect=cast.collect(),
        review=cast.review,
        errors=(NoSuchBlob,),
    )


def test_case_05_a_push_links_one_blob_of_a_batch(cast: Cast, explore: Explore) -> None:
    layers = [cast.layer(f"layer {n}") for n in range(3)]
    for layer in layers:
        cast.world.insert("dredge_blob_candidate", blob_id=layer, created_ms=1)
    cast.world.uploaded(layers[1])

    def others_died(outcomes: Mapping[str, Outcome]) -> None:
        left = cast.world.rows("SELECT content_checksum FROM imagestorage")
        assert (layers[0].digest,) not in left and (layers[2].digest,) not in left

    explore(push=cast.push_image(cast.image(layers[1])), review=cast.review, check=others_died)


def test_case_06_an_upload_that_outlasts_its_marker(cast: Cast, explore: Explore) -> None:
    slow = replace(cast.policy, push_ttl_ms=-1)

    def push() -> BlobClaim:
        begun = blob.begin_push(
            cast.world.repository_id, digest_of("slow"), 4, location=LOCATION, policy=slow, now_ms=now_ms()
        )
        cast.arena.store.write(begun.path, [b"slow"])
        blob.finish_push(begun, 4, policy=cast.policy, now_ms=now_ms())
        return BlobClaim(digest_of("slow"))

    explore(push=push, collect=cast.collect(), review=cast.review, errors=(BlobGone,))


def test_case_07_two_pushes_of_one_new_digest(cast: Cast, explore: Explore) -> None:
    def one_row(outcomes: Mapping[str, Outcome]) -> None:
        count = "SELECT count(*) FROM imagestorage WHERE content_checksum = %s"
        assert cast.world.value(count, (digest_of("new"),)) == 1

    other = cast.world.repository()
    explore(first=cast.push_blob("new"), second=cast.push_blob("new", other), check=one_row)


# ------------------------------------------------------------------------- tags, time machine


def test_case_09_a_restore_at_the_instant_the_window_closes(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("old")))
    tag = cast.world.tag("old", manifest=image, ended_ms=1)
    window_ms = 14 * 24 * HOUR_MS
    reset = cast.arena.reset

    def close_soon() -> None:
        reset()
        closing = f"{NOW_MS_SQL} - {window_ms} + 9"
        cast.world.execute(f"UPDATE tag SET lifetime_end_ms = {closing} WHERE id = {int(tag)}")

    cast.arena.reset = close_soon  # type: ignore[method-assign]
    report = explore(
        restore=cast.restore("old", image.digest),
        collect=cast.collect(),
        errors=(NotRestorable, ManifestGone),
    )
    assert report.schedules


def test_case_10_latest_moves_away_and_back(cast: Cast, explore: Explore) -> None:
    layer = cast.layer("one")
    first, second = cast.have(cast.image(layer, note="1")), cast.have(cast.image(layer, note="2"))
    gone_tag(cast.world, first, "latest")
    cast.world.tag("latest", manifest=second)
    explore(
        back=cast.tag("latest", first.digest),
        collect=cast.collect(),
        review=cast.review,
        errors=(ManifestGone,),
    )


def test_case_11_a_tag_on_an_untagged_manifest(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("loose")))
    columns = {"repository_id": cast.world.repository_id, "manifest_id": image, "created_ms": 1}
    cast.world.insert("dredge_manifest_candidate", **columns)
    report = explore(tag=cast.tag("saved", image.digest), collect=cast.collect(), errors=(ManifestGone,))
    assert len(report.outcomes) == 2


def test_case_12_the_last_tag_goes_while_the_manifest_is_judged(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("twice tagged")))
    gone_tag(cast.world, image)
    cast.world.tag("last", manifest=image)
    explore(delete=cast.delete("last", for_good=image.digest), collect=cast.collect())
    cast.arena.check_rest()


def test_case_13_the_window_is_lengthened_while_a_batch_runs(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("recoverable")))
    cast.world.tag("old", manifest=image, ended_ms=cast.world.now_ms - 20 * 24 * HOUR_MS)

    def lengthen_and_restore() -> Any:
        namespace.change_window("acme", 28 * 24 * 3600)
        return cast.restore("old", image.digest)()

    report = explore(
        lengthen=lengthen_and_restore, collect=cast.collect(), errors=(NotRestorable, ManifestGone, Contended)
    )
    assert any(endings[0] == "yes" for endings in report.outcomes)


def test_case_18_two_rows_of_a_name_want_the_same_end(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("one")))
    other = cast.have(cast.image(cast.layer("two")))
    cast.world.tag("name", manifest=image)
    explore(
        first=cast.tag("name", other.digest),
        second=cast.delete("name", for_good=image.digest),
        collect=cast.collect(),
        check=lambda outcomes: None,
        errors=(ManifestGone,),
    )


# ----------------------------------------------------------------------------- manifest graphs


def test_case_19_a_child_of_a_dead_index_gets_a_living_parent(cast: Cast, explore: Explore) -> None:
    child = cast.have(cast.image(cast.layer("shared child")))
    gone_tag(cast.world, cast.have(cast.index(child, note="dead")))
    explore(
        push=cast.push_image(cast.index(child, note="new"), tag="new"),
        collect=cast.collect(),
        errors=(NoSuchManifest, ManifestGone),
    )


def test_case_20_an_index_on_an_untagged_child_while_it_is_judged(cast: Cast, explore: Explore) -> None:
    child = cast.have(cast.image(cast.layer("child")))
    columns = {"repository_id": cast.world.repository_id, "manifest_id": child, "created_ms": 1}
    cast.world.insert("dredge_manifest_candidate", **columns)
    explore(push=cast.push_image(cast.index(child)), collect=cast.collect(), errors=(NoSuchManifest,))


def test_case_21_the_outer_index_is_pushed_while_the_inner_one_dies(cast: Cast, explore: Explore) -> None:
    inner = cast.have(cast.index(cast.have(cast.image(cast.layer("leaf")))))
    gone_tag(cast.world, inner)
    explore(
        push=cast.push_image(cast.index(inner, note="outer")),
        collect=cast.collect(),
        review=cast.review,
        errors=(NoSuchManifest,),
    )


def test_case_22_a_sparse_index_beside_the_collection_of_a_child(cast: Cast, explore: Explore) -> None:
    child = cast.have(cast.image(cast.layer("there")))
    gone_tag(cast.world, child)
    never = cast.image(cast.layer("never pushed", stored=False, placement=None))
    cast.world.execute("DELETE FROM imagestorage WHERE content_checksum = %s", (digest_of("never pushed"),))
    sparse = cast.index(child, cast.world.manifest(content=never.content.decode()))
    cast.world.execute("DELETE FROM manifest WHERE digest = %s", (never.digest,))
    explore(push=cast.push_image(sparse, sparse=True), collect=cast.collect())


@pytest.mark.parametrize("policy", [DEFAULT, CASCADE], ids=["pin", "cascade"])
def test_case_26_a_referrer_is_pushed_while_its_subject_is_judged(cast: Cast, explore: Explore) -> None:
    subject = cast.have(cast.image(cast.layer("subject")))
    gone_tag(cast.world, subject)
    signature = cast.image(cast.layer("signature"), subject=subject.digest)
    cast.world.uploaded(signature.blobs[0])
    explore(push=cast.unpromised(cast.push_image(signature)), collect=cast.collect())


@pytest.mark.parametrize("policy", [CASCADE], ids=["cascade"])
def test_case_25_a_signature_of_a_signature_is_pushed_while_they_die(cast: Cast, explore: Explore) -> None:
    subject = cast.have(cast.image(cast.layer("subject")))
    gone_tag(cast.world, subject)
    signature = cast.have(cast.image(cast.layer("signature"), subject=subject.digest))
    cast.world.tag("$temp-1", manifest=signature, hidden=True, start_ms=cast.world.now_ms - HOUR_MS)
    second = cast.image(cast.layer("second"), subject=signature.digest)
    cast.world.uploaded(second.blobs[0])
    explore(push=cast.unpromised(cast.push_image(second)), collect=cast.collect())


def test_case_28_the_subject_is_tagged_again_while_its_siblings_expire(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("signed")))
    cast.world.tag("v1", manifest=image)
    sibling = f"sha256-{image.digest.removeprefix('sha256:')}.sig"
    cast.world.tag(sibling, manifest=cast.have(cast.image(cast.layer("sig"))))

    def both_or_none(outcomes: Mapping[str, Outcome]) -> None:
        alive = dict(cast.world.rows("SELECT name, 1 FROM tag WHERE lifetime_end_ms IS NULL"))
        assert "v2" in alive and "v1" not in alive

    explore(delete=cast.delete("v1"), tag=cast.tag("v2", image.digest), check=both_or_none)


def test_case_29_one_digest_dies_in_two_repositories_at_once(cast: Cast, explore: Explore) -> None:
    shared = cast.layer("shared")
    image, other = cast.image(shared), cast.world.repository()
    gone_tag(cast.world, cast.have(image))
    gone_tag(cast.world, cast.have(image, other))
    explore(first=cast.collect(), second=cast.collect(other), review=cast.review)


# ---------------------------------------------------------------------- redelivery, accounting


def test_case_37_every_stage_runs_twice_at_once(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("one"), cast.layer("two")))
    gone_tag(cast.world, image)

    def one_event(outcomes: Mapping[str, Outcome]) -> None:
        rows = cast.world.rows("SELECT data FROM dredge_event WHERE type = 'registry.manifest.collected'")
        assert len(rows) <= 1

    explore(first=cast.collect(), second=cast.collect(), check=one_event)


def test_case_37_two_reviews_and_two_erasers(cast: Cast, explore: Explore) -> None:
    for n in range(2):
        for _ in range(2):
            cast.world.insert("dredge_blob_candidate", blob_id=cast.layer(f"dead {n}"), created_ms=1)
    explore(first=cast.review, second=cast.review, erase=cast.erase)


def test_case_43_the_cleaner_meets_an_upload_that_is_resumed(cast: Cast, explore: Explore) -> None:
    upload = cast.world.upload(created_ms=cast.world.now_ms - 49 * HOUR_MS)
    path = f"uploads/{upload.uuid}"
    cast.arena.store.objects[path] = b"first"

    def resume() -> None:
        with transaction():
            held = execute("UPDATE blobupload SET created = now() WHERE uuid = %s", (upload.uuid,))
            if not held:
                raise BlobGone(digest=upload.uuid)

    def whole(outcomes: Mapping[str, Outcome]) -> None:
        if outcomes["resume"].ok:
            assert path in cast.arena.store.objects

    explore(resume=resume, collect=cast.collect(), erase=cast.erase, check=whole, errors=(BlobGone,))


def test_case_44_a_push_meets_the_sweep_that_condemns_its_object(cast: Cast, explore: Explore) -> None:
    path = blob.object_path(digest_of("unknown"), True, "")
    cast.arena.store.objects[path] = b"unknown"
    cast.world.execute("INSERT INTO dredge_sighting VALUES ('object', %s, 1)", (f"{LOCATION}:{path}",))

    def sweep() -> None:
        sight_objects(LOCATION, path.rpartition("/")[0], [(path, 7)], now_ms=now_ms(), delay_ms=0)

    explore(push=cast.push_blob("unknown"), sweep=sweep, erase=cast.erase)


def test_case_49_quota_of_a_blob_that_two_repositories_drop_and_one_takes(
    cast: Cast, explore: Explore
) -> None:
    shared, other = cast.layer("shared"), cast.world.repository()
    gone_tag(cast.world, cast.have(cast.image(shared, note="1")))
    gone_tag(cast.world, cast.have(cast.image(shared, note="2"), other))
    explore(first=cast.collect(), second=cast.collect(other))
    cast.arena.reset()
    cast.world.uploaded(shared)
    explore(
        drop=cast.collect(other),
        drop_too=cast.collect(),
        push=cast.push_image(cast.image(shared, note="3")),
        errors=(NoSuchBlob,),
    )


def test_case_53_collectors_of_overlapping_layers_and_a_review(cast: Cast, explore: Explore) -> None:
    layers, other = [cast.layer(f"base {n}") for n in range(3)], cast.world.repository()
    gone_tag(cast.world, cast.have(cast.image(*layers)))
    gone_tag(cast.world, cast.have(cast.image(*reversed(layers)), other))
    explore(first=cast.collect(), second=cast.collect(other), review=cast.review)


def test_a_whole_push_beside_the_whole_pipeline(cast: Cast, explore: Explore) -> None:
    """The dying image is pushed again: blobs, manifest and tag, while all three stages run."""
    image = cast.image(cast.layer("config"), cast.layer("layer"))
    gone_tag(cast.world, cast.have(image))

    def pipeline() -> None:
        cast.collect()()
        cast.review()
        cast.erase()

    explore(
        push=cast.push_all(["config", "layer"], image, "again"),
        pipeline=pipeline,
        errors=(NoSuchBlob, ManifestGone, DigestBusy),
    )
