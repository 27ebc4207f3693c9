"""The names are those of the table, and the identity tells apart what the names do not."""

from __future__ import annotations

import hashlib
import json

import pytest

from model.cache import CacheKey, invalidation, keys
from model.errors import BadInput
from tests.model.cache.conftest import OpenCache
from tests.model.cache.kinds import DIGEST, KINDS, OTHER_DIGEST, Kind, Loader

ARTIFACT = "application/spdx+json"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (keys.repository_lookup("ns", "repo"), "repository_lookup_ns_repo"),
        (keys.repository_lookup("ns", "repo", "latest"), "repository_lookup_ns_repo_latest"),
        (keys.repository_lookup("ns", "repo", None, "image"), "repository_lookup_ns_repo_image"),
        (keys.repository_lookup("ns", "repo", DIGEST, "image"), f"repository_lookup_ns_repo_{DIGEST}_image"),
        (keys.repository_manifest(7, DIGEST), f"repository_manifest__7_{DIGEST}"),
        (keys.active_tags(7, "v1", 50), "repo_active_tags__7_v1_50_"),
        (keys.active_tags(7), "repo_active_tags__7_None_None_"),
        (keys.repository_blob("ns", "repo", DIGEST, 2), f"repo_blob__ns_repo_{DIGEST}_2"),
        (keys.catalog_page(), "catalog_page__(anon)_0_0"),
        (keys.catalog_page("me", 4, 50), "catalog_page__me_4_50"),
        (keys.geo_restrictions("ns"), "geo_restrictions__ns"),
        (keys.security_report(DIGEST), f"security_report__{DIGEST}"),
        (keys.manifest_referrers(7, DIGEST), f"manifest_referrers__7_{DIGEST}"),
        (
            keys.manifest_referrers(7, DIGEST, ARTIFACT),
            f"manifest_referrers__7_{DIGEST}_artifact_type_{hashlib.sha256(ARTIFACT.encode()).hexdigest()}",
        ),
        (keys.upstream_token("org", "quay.io", "a/b"), "upstream_token__org/quay.io/a/b"),
    ],
)
def test_the_name_is_the_tables(key: CacheKey, name: str) -> None:
    assert key.name == name


def test_the_generation_of_tags_is_where_the_table_says() -> None:
    assert keys.active_tags(7).group == "repo_active_tags_gen__7"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_the_identity_begins_a_json_list(kind: Kind) -> None:
    version, name, *parts = json.loads(kind.key.header + b"null]")
    assert (version, name) == (keys.SCHEMA_VERSION, kind.key.kind)
    assert parts


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.namesake], ids=lambda k: k.key.kind)
def test_two_entries_of_one_name_never_answer_for_each_other(kind: Kind, opened: OpenCache) -> None:
    cache, mine, theirs = opened(), Loader("mine"), Loader("theirs")
    assert kind.namesake is not None
    assert kind.namesake.name == kind.key.name
    assert cache.retrieve(kind.namesake, theirs) == "theirs"
    assert cache.retrieve(kind.key, mine) == "mine"
    assert cache.retrieve(kind.namesake, theirs) == "theirs"


@pytest.mark.parametrize("bad", ["", "a\nb", "a\x00", "{a}", "x" * 2000, None, 5])
def test_a_part_that_would_forge_a_key_is_refused(bad: object) -> None:
    with pytest.raises(BadInput):
        keys.repository_lookup(bad, "repo")  # type: ignore[arg-type]
    with pytest.raises(BadInput):
        keys.repository_manifest(7, bad)  # type: ignore[arg-type]
    with pytest.raises(BadInput):
        keys.repository_manifest(-1 if bad == 5 else bad, DIGEST)  # type: ignore[arg-type]


def test_a_quote_in_a_name_stays_inside_its_part() -> None:
    key = keys.catalog_page('me",0,0,[]]', 1, 2)
    assert json.loads(key.header + b"0]")[2] == 'me",0,0,[]]'


def test_a_collection_names_exactly_what_it_changed() -> None:
    got = invalidation.after_collection("ns", "repo", 7, [DIGEST, DIGEST], [OTHER_DIGEST], [OTHER_DIGEST])
    assert {name for key in got for name in key.forgets} == {
        "repo_active_tags_gen__7",
        "repository_lookup_gen__ns/repo",
        f"repository_manifest__7_{DIGEST}",
        f"security_report__{DIGEST}",
        f"manifest_referrers_gen__7_{OTHER_DIGEST}",
        f"repo_blob__ns_repo_{OTHER_DIGEST}_1",
        f"repo_blob__ns_repo_{OTHER_DIGEST}_2",
    }


FORGETTING = {
    "a tag": (
        invalidation.after_tag_change("ns", "repo", 7, [DIGEST]),
        [
            keys.active_tags(7, "v1", 10),
            keys.active_tags(7),
            keys.repository_lookup("ns", "repo", "latest", "image"),
            keys.repository_manifest(7, DIGEST),
        ],
        [keys.active_tags(8), keys.repository_manifest(7, OTHER_DIGEST)],
    ),
    "an erased blob": (
        invalidation.after_blob_erased([DIGEST]),
        [keys.repository_blob("ns", "repo", DIGEST, 1), keys.repository_blob("other", "repo", DIGEST)],
        [keys.repository_blob("ns", "repo", OTHER_DIGEST)],
    ),
    "a blob of one repository": (
        invalidation.after_blobs_linked("ns", "repo", [DIGEST]),
        [keys.repository_blob("ns", "repo", DIGEST, 1), keys.repository_blob("ns", "repo", DIGEST, 2)],
        [keys.repository_blob("other", "repo", DIGEST)],
    ),
    "a repository": (
        invalidation.after_repository_change("ns", "repo", 7),
        [keys.catalog_page(), keys.catalog_page("me", 5, 10), keys.repository_lookup("ns", "repo")],
        [keys.repository_lookup("ns", "other")],
    ),
    "a namespace": (
        invalidation.after_namespace_change("ns"),
        [keys.catalog_page("me"), keys.geo_restrictions("ns")],
        [keys.geo_restrictions("other")],
    ),
    "a new referrer": (
        invalidation.after_manifest_created("ns", "repo", 7, OTHER_DIGEST, DIGEST, [DIGEST]),
        [
            keys.manifest_referrers(7, DIGEST),
            keys.manifest_referrers(7, DIGEST, ARTIFACT),
            keys.repository_manifest(7, OTHER_DIGEST),
            keys.repository_blob("ns", "repo", DIGEST),
        ],
        [keys.manifest_referrers(7, OTHER_DIGEST), keys.repository_manifest(7, DIGEST)],
    ),
}


@pytest.mark.parametrize("change", FORGETTING)
def test_a_change_forgets_its_entries_and_no_other(change: str, opened: OpenCache) -> None:
    wrong, gone, kept = FORGETTING[change]
    cache = opened()
    for key in [*gone, *kept]:
        cache.retrieve(key, lambda: "old")
    assert cache.invalidate(*wrong)
    assert [cache.retrieve(key, lambda: "new") for key in gone] == ["new"] * len(gone)
    assert [cache.retrieve(key, lambda: "new") for key in kept] == ["old"] * len(kept)


def test_a_row_that_cannot_be_cached_stops_no_invalidation() -> None:
    got = invalidation.after_collection("n\ns", "repo", 7, ["no digest", DIGEST], [None], ["sha256:short"])  # type: ignore[list-item]
    assert [key.name for key in got] == [
        "repo_active_tags__7_None_None_",
        f"repository_manifest__7_{DIGEST}",
        f"security_report__{DIGEST}",
    ]
