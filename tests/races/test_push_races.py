"""Pushes against the review and the eraser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from model import blob
from model.db.clock import now_ms
from model.errors import BlobGone, NoSuchBlob
from tests.support.explorer import Report
from tests.support.explorer_steps import Outcome
from tests.support.pipeline import LOCATION
from tests.support.race_actors import RaceActors, gone_tag
from tests.support.race_harness import BlobClaim
from tests.support.world import digest_of

Explore = Callable[..., Report]


def test_case_01_a_push_finds_the_object_and_the_eraser_takes_it(race: RaceActors, explore: Explore) -> None:
    dying = race.layer("dying")
    race.world.insert("dredge_blob_candidate", blob_id=dying, created_ms=1)
    explore(push=race.push_blob("dying"), review=race.review, erase=race.erase)


def test_case_01_a_push_meets_the_tombstone_of_its_digest(race: RaceActors, explore: Explore) -> None:
    race.tombstone("dead")
    explore(push=race.push_blob("dead"), erase=race.erase, again=race.erase)


def test_case_01_a_push_while_two_reviews_claim_what_is_dying(race: RaceActors, explore: Explore) -> None:
    for layer in (race.layer("dying"), race.layer("other")):
        race.world.insert("dredge_blob_candidate", blob_id=layer, created_ms=1)
    explore(push=race.push_blob("dying"), review=race.review_all, again=race.review_all)


def test_case_02_a_new_blob_between_its_row_and_its_marker(race: RaceActors, explore: Explore) -> None:
    race.world.upload(created_ms=1)
    explore(push=race.push_blob("new"), collect=race.collect(), review=race.review)


def test_case_03_a_manifest_that_needs_a_blob_whose_last_user_dies(
    race: RaceActors, explore: Explore
) -> None:
    shared = race.layer("shared")
    gone_tag(race.world, race.have(race.image(shared, note="old")))
    report = explore(
        push=race.push_image(race.image(shared, note="new")),
        collect=race.collect(),
        review=race.review,
        errors=(NoSuchBlob,),
        telling=(("collect", ""), ("review", ""), ("push", "")),
    )
    assert len(report.outcomes) == 2


def test_case_04_a_mount_while_the_last_user_is_collected(race: RaceActors, explore: Explore) -> None:
    shared = race.layer("shared")
    gone_tag(race.world, race.have(race.image(shared)))
    other = race.world.repository()
    image = race.image(shared, note="mounted")
    explore(
        mount=race.mount(shared.digest, race.world.repository_id, other, image),
        collect=race.collect(),
        review=race.review,
        errors=(NoSuchBlob,),
    )


def test_case_05_a_push_links_one_blob_of_a_batch(race: RaceActors, explore: Explore) -> None:
    layers = [race.layer(f"layer {n}") for n in range(3)]
    for layer in layers:
        race.world.insert("dredge_blob_candidate", blob_id=layer, created_ms=1)
    race.world.uploaded(layers[1])

    def others_died(outcomes: Mapping[str, Outcome]) -> None:
        left = race.world.rows("SELECT content_checksum FROM imagestorage")
        assert (layers[0].digest,) not in left and (layers[2].digest,) not in left

    explore(push=race.push_image(race.image(layers[1])), review=race.review, check=others_died)


def test_case_06_an_upload_that_outlasts_its_marker(race: RaceActors, explore: Explore) -> None:
    slow = replace(race.policy, push_ttl_ms=-1)

    def push() -> BlobClaim:
        begun = blob.begin_push(
            race.world.repository_id, digest_of("slow"), 4, location=LOCATION, policy=slow, now_ms=now_ms()
        )
        race.harness.store.write(begun.path, [b"slow"])
        blob.finish_push(begun, 4, policy=race.policy, now_ms=now_ms())
        return BlobClaim(digest_of("slow"))

    explore(push=push, collect=race.collect(), review=race.review, errors=(BlobGone,))


def test_case_07_two_pushes_of_one_new_digest(race: RaceActors, explore: Explore) -> None:
    def one_row(outcomes: Mapping[str, Outcome]) -> None:
        count = "SELECT count(*) FROM imagestorage WHERE content_checksum = %s"
        assert race.world.value(count, (digest_of("new"),)) == 1

    other = race.world.repository()
    explore(first=race.push_blob("new"), second=race.push_blob("new", other), check=one_row)
