"""Graphs of manifests that grow while they are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from model.errors import ManifestGone, NoSuchManifest
from model.policy import DEFAULT, HOUR_MS
from tests.support.explorer import Report
from tests.support.explorer_steps import Outcome
from tests.support.race_actors import RaceActors, gone_tag
from tests.support.world import digest_of

# A referrer waits for no time worth mentioning: what outlives its subject unseen would be garbage at once.
CASCADE = replace(DEFAULT, referrers="cascade", referrer_grace_ms=1)
Explore = Callable[..., Report]


def test_case_19_a_child_of_a_dead_index_gets_a_living_parent(race: RaceActors, explore: Explore) -> None:
    child = race.have(race.image(race.layer("shared child")))
    gone_tag(race.world, race.have(race.index(child, note="dead")))
    explore(
        push=race.push_image(race.index(child, note="new"), tag="new"),
        collect=race.collect(),
        errors=(NoSuchManifest, ManifestGone),
    )


def test_case_20_an_index_on_an_untagged_child_while_it_is_judged(race: RaceActors, explore: Explore) -> None:
    child = race.have(race.image(race.layer("child")))
    columns = {"repository_id": race.world.repository_id, "manifest_id": child, "created_ms": 1}
    race.world.insert("dredge_manifest_candidate", **columns)
    explore(push=race.push_image(race.index(child)), collect=race.collect(), errors=(NoSuchManifest,))


def test_case_21_the_outer_index_is_pushed_while_the_inner_one_dies(
    race: RaceActors, explore: Explore
) -> None:
    inner = race.have(race.index(race.have(race.image(race.layer("leaf")))))
    gone_tag(race.world, inner)
    explore(
        push=race.push_image(race.index(inner, note="outer")),
        collect=race.collect(),
        review=race.review,
        errors=(NoSuchManifest,),
    )


def test_case_22_a_sparse_index_beside_the_collection_of_a_child(race: RaceActors, explore: Explore) -> None:
    child = race.have(race.image(race.layer("there")))
    gone_tag(race.world, child)
    never = race.image(race.layer("never pushed", stored=False, placement=None))
    race.world.execute("DELETE FROM imagestorage WHERE content_checksum = %s", (digest_of("never pushed"),))
    sparse = race.index(child, race.world.manifest(content=never.content.decode()))
    race.world.execute("DELETE FROM manifest WHERE digest = %s", (never.digest,))
    explore(push=race.push_image(sparse, sparse=True), collect=race.collect())


@pytest.mark.parametrize("policy", [DEFAULT, CASCADE], ids=["pin", "cascade"])
def test_case_26_a_referrer_is_pushed_while_its_subject_is_judged(race: RaceActors, explore: Explore) -> None:
    subject = race.have(race.image(race.layer("subject")))
    gone_tag(race.world, subject)
    signature = race.image(race.layer("signature"), subject=subject.digest)
    race.world.uploaded(signature.blobs[0])
    explore(push=race.unpromised(race.push_image(signature)), collect=race.collect())


@pytest.mark.parametrize("policy", [CASCADE], ids=["cascade"])
def test_case_25_a_signature_of_a_signature_is_pushed_while_they_die(
    race: RaceActors, explore: Explore
) -> None:
    subject = race.have(race.image(race.layer("subject")))
    gone_tag(race.world, subject)
    signature = race.have(race.image(race.layer("signature"), subject=subject.digest))
    race.world.tag("$temp-1", manifest=signature, hidden=True, start_ms=race.world.now_ms - HOUR_MS)
    second = race.image(race.layer("second"), subject=signature.digest)
    race.world.uploaded(second.blobs[0])
    explore(push=race.unpromised(race.push_image(second)), collect=race.collect())


def test_case_28_the_subject_is_tagged_again_while_its_siblings_expire(
    race: RaceActors, explore: Explore
) -> None:
    image = race.have(race.image(race.layer("signed")))
    race.world.tag("v1", manifest=image)
    sibling = f"sha256-{image.digest.removeprefix('sha256:')}.sig"
    race.world.tag(sibling, manifest=race.have(race.image(race.layer("sig"))))

    def both_or_none(outcomes: Mapping[str, Outcome]) -> None:
        alive = dict(race.world.rows("SELECT name, 1 FROM tag WHERE lifetime_end_ms IS NULL"))
        assert "v2" in alive and "v1" not in alive

    explore(delete=race.delete("v1"), tag=race.tag("v2", image.digest), check=both_or_none)


def test_case_29_one_digest_dies_in_two_repositories_at_once(race: RaceActors, explore: Explore) -> None:
    shared = race.layer("shared")
    image, other = race.image(shared), race.world.repository()
    gone_tag(race.world, race.have(image))
    gone_tag(race.world, race.have(image, other))
    explore(first=race.collect(), second=race.collect(other), review=race.review)
