"""The loaders of the cache: JSON in, JSON out, and the truth."""

from __future__ import annotations

import json
from typing import Any

from model.registry import loaders
from tests.support.world import World


def test_every_kind_is_loaded_as_json(world: World) -> None:
    blob = world.blob()
    image = world.manifest(blobs=[blob])
    tag = world.tag("v1", manifest=image)
    referrer = world.manifest(subject=image.digest, artifact_type="application/sig")
    world.security(image)
    repository = loaders.load_repository("acme", "app", kind="image")
    loaded: list[Any] = [
        repository,
        loaders.load_manifest(world.repository_id, image.digest),
        loaders.load_active_tags(world.repository_id, limit=5),
        loaders.load_blob("acme", "app", blob.digest),
        loaders.load_catalogue_page("acme"),
        loaders.load_geo_restrictions("acme"),
        loaders.load_security_report(image.digest),
        loaders.load_referrers(world.repository_id, image.digest, artifact_type="application/sig"),
    ]
    assert json.loads(json.dumps(loaded)) == loaded
    assert repository is not None and repository["id"] == world.repository_id
    assert loaded[2] == {
        "tags": [
            {
                "id": tag,
                "name": "v1",
                "digest": image.digest,
                "start_ms": world.value("SELECT lifetime_start_ms FROM tag"),
                "end_ms": None,
            }
        ],
        "has_more": False,
    }
    assert loaded[7][0]["digest"] == referrer.digest
    assert loaded[4]["repositories"] == [repository]


def test_what_is_not_there_is_none_or_empty(world: World) -> None:
    missing = "sha256:" + "0" * 64
    assert loaders.load_repository("acme", "none") is None
    assert loaders.load_repository("acme", "app", kind="application") is None
    assert loaders.load_manifest(world.repository_id, missing) is None
    assert loaders.load_active_tags(world.repository_id) == {"tags": [], "has_more": False}
    assert loaders.load_blob("acme", "app", missing) is None is loaders.load_blob("no", "app", missing)
    assert loaders.load_catalogue_page(None) == {"repositories": [], "next_id": None}
    assert loaders.load_geo_restrictions("none") == []
    assert loaders.load_security_report(missing) is None
    assert loaders.load_referrers(world.repository_id, missing) == []


def test_the_best_report_of_a_digest_in_any_repository_is_loaded(world: World) -> None:
    image = world.manifest()
    world.security(image, status=-1)
    world.security(world.manifest(world.repository("other"), digest=image.digest), status=2)
    report = loaders.load_security_report(image.digest)
    assert report is not None and report["state"] == "scanned"
