"""Graphs of manifests that grow while they are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from model.errors import ManifestGone, NoSuchManifest
from model.policy import DEFAULT, HOUR_MS
from tests.support.explorer import Report
from tests.support.explorer_steps import Outcome
from tests.support.race_actors import Cast, gone_tag
from tests.support.world import digest_of

# A referrer waits for no time worth mentioning: what outlives its subject unseen would be garbage at once.
CASCADE = replace(DEFAULT, referrers="cascade", referrer_grace_ms=1)
Explore = Callable[..., Report]


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
