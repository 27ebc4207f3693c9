"""The nine kinds in front of a real database: what they answer, and what makes them forget."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from model import registry
from model.cache import invalidation
from model.cache.open import open_cache
from model.db.connection import db
from model.gc.collect import collect_batch
from model.policy import DEFAULT, HOUR_MS
from model.registry.cached import CachedLookups, UpstreamToken
from tests.model.cache.kinds import Notes
from tests.support.rows import Row
from tests.support.world import World

Read = Callable[[], Any]


class Counted:
    """Counts the statements that reach the database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements = 0
        original = db.obj.execute_sql

        def execute(*args: Any, **named: Any) -> Any:
            self.statements += 1
            return original(*args, **named)

        monkeypatch.setattr(db.obj, "execute_sql", execute)


@pytest.fixture
def cached(valkey: str, notes: Notes) -> CachedLookups:
    return CachedLookups(open_cache(valkey, recorder=notes))


@pytest.fixture
def image(world: World) -> Row:
    made = world.manifest(blobs=[world.blob()])
    world.tag("v1", manifest=made)
    world.security(made)
    return made


def reads(cached: CachedLookups, world: World, image: Row) -> dict[str, Read]:
    repository_id, digest = int(world.repository_id), image.digest
    blob = world.value("SELECT content_checksum FROM imagestorage LIMIT 1")
    return {
        "repository_lookup": lambda: cached.repository("acme", "app", manifest_ref="v1", kind="image"),
        "repository_manifest": lambda: cached.manifest(repository_id, digest),
        "active_tags": lambda: cached.active_tags(repository_id, limit=10),
        "repository_blob": lambda: cached.blob("acme", "app", blob),
        "catalog_page": lambda: cached.catalogue_page("acme"),
        "geo_restrictions": lambda: cached.geo_restrictions("acme"),
        "security_report": lambda: cached.security_report(digest),
        "manifest_referrers": lambda: cached.referrers(repository_id, digest, artifact_type="application/x"),
        "upstream_token": lambda: cached.upstream_token(
            "acme", "quay.io", "a/b", lambda: UpstreamToken("secret", 300)
        ),
    }


def test_a_hit_answers_as_the_miss_did_and_asks_no_database(
    world: World, image: Row, cached: CachedLookups, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = reads(cached, world, image)
    counted = Counted(monkeypatch)
    first = {kind: read() for kind, read in every.items()}
    assert json.loads(json.dumps(first)) == first
    asked = counted.statements
    assert {kind: read() for kind, read in every.items()} == first
    assert counted.statements == asked
    assert {kind for kind, outcome in notes.seen if outcome == "hit"} == set(every)
    assert all(first[kind] for kind in every if kind not in ("geo_restrictions", "manifest_referrers"))


def test_a_deleted_tag_is_gone_from_every_page_at_once(
    world: World, image: Row, cached: CachedLookups
) -> None:
    repository_id = int(world.repository_id)
    assert [tag["name"] for tag in cached.active_tags(repository_id)["tags"]] == ["v1"]
    assert [tag["name"] for tag in cached.active_tags(repository_id, limit=1)["tags"]] == ["v1"]
    with cached.changing_tags("acme/app"):
        registry.delete_tag("acme/app", "v1")
    assert cached.active_tags(repository_id)["tags"] == []
    assert cached.active_tags(repository_id, limit=1)["tags"] == []


def test_what_a_collection_removed_is_not_served_any_more(
    world: World, cached: CachedLookups, valkey: str
) -> None:
    repository_id, blob = int(world.repository_id), world.blob()
    subject = world.manifest()
    world.tag("kept", manifest=subject)
    dead = world.manifest(blobs=[blob], subject=subject.digest, artifact_type="application/x")
    world.tag("old", manifest=dead, ended_ms=world.now_ms - 1000 * 24 * HOUR_MS)
    assert cached.manifest(repository_id, dead.digest)
    assert cached.blob("acme", "app", blob.digest)
    assert len(cached.referrers(repository_id, subject.digest)) == 1
    assert len(cached.referrers(repository_id, subject.digest, artifact_type="application/x")) == 1
    batch = collect_batch(repository_id, policy=DEFAULT, limit=10)
    assert [digest for digest, _ in batch.manifests] == [dead.digest]
    assert open_cache(valkey).invalidate(
        *invalidation.after_collection(
            "acme",
            "app",
            repository_id,
            manifests=[digest for digest, _ in batch.manifests],
            referred=[subject for _, subject in batch.manifests if subject],
            blobs=batch.blobs,
        )
    )
    assert cached.manifest(repository_id, dead.digest) is None
    assert cached.blob("acme", "app", blob.digest) is None
    assert cached.referrers(repository_id, subject.digest) == []
    assert cached.referrers(repository_id, subject.digest, artifact_type="application/x") == []
    assert cached.manifest(repository_id, subject.digest)


def test_a_page_is_kept_no_longer_than_its_first_tag_lives(
    world: World, image: Row, cached: CachedLookups, valkey: str
) -> None:
    import redis

    world.tag("soon", manifest=image, ended_ms=world.now_ms + 5_000)
    cached.active_tags(int(world.repository_id))
    client = redis.Redis.from_url(valkey)
    (name,) = client.keys("repo_active_tags__*")
    assert 0 < client.pttl(name) <= 5_000


def test_a_token_lives_a_little_shorter_than_it_says_and_is_in_no_log(
    cached: CachedLookups, valkey: str, caplog: pytest.LogCaptureFixture
) -> None:
    import redis

    caplog.set_level(0)
    token = UpstreamToken("very-secret", 60)
    assert cached.upstream_token("acme", "quay.io", "a", lambda: token) == "very-secret"
    (name,) = redis.Redis.from_url(valkey).keys("upstream_token__*")
    assert 53_000 < redis.Redis.from_url(valkey).pttl(name) <= 54_000
    assert "very-secret" not in caplog.text + repr(token)


def test_arguments_that_no_entry_can_have_are_looked_up_uncached(world: World, cached: CachedLookups) -> None:
    assert cached.repository("{odd}", "na\nme") is None
    assert cached.manifest(1, "no digest") is None
    assert cached.blob("acme", "app", "no digest") is None


def test_a_changed_tag_is_forgotten_even_when_the_answer_was_lost(
    world: World, image: Row, cached: CachedLookups
) -> None:
    repository_id = int(world.repository_id)
    cached.active_tags(repository_id)
    with pytest.raises(ConnectionError), cached.changing_tags(repository_id):
        registry.delete_tag(repository_id, "v1")
        raise ConnectionError
    assert cached.active_tags(repository_id)["tags"] == []
