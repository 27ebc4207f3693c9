"""What the workers do about an event: collect now, or note when, and forget what is cached."""

from __future__ import annotations

import pytest

from model.cache.open import open_cache
from model.events import record as types
from model.policy import DEFAULT
from tests.support.pipeline import Recorded
from tests.support.world import World, digest_of
from worker.events.message import CloudEvent
from worker.events.react import CacheBehind, react, stale_keys
from worker.jobs.context import JobContext
from worker.settings import Settings
from worker.storage.base import Stores

HOUR_MS = 3_600_000


def context(cache_url: str = "memory://") -> JobContext:
    return JobContext(Settings(), DEFAULT, Stores({}, "local_us"), open_cache(cache_url), queue=Recorded())


def enqueued(made: JobContext) -> list[int]:
    assert isinstance(made.queue, Recorded)
    return made.queue.repositories


def noted(world: World) -> dict[int, int]:
    return dict(world.rows("SELECT repository_id, due_ms FROM dredge_due"))


def tag_event(repository_id: int, until: int | None, type: str = types.TAG_DELETED) -> CloudEvent:
    data = {"namespace": "acme", "repository": "app", "repository_id": repository_id, "tag": "v1"}
    return {"type": type, "data": {**data, "digest": digest_of("x"), "recoverable_until_ms": until}}


def test_what_is_due_is_enqueued_and_what_will_be_is_noted(world: World) -> None:
    now, later, endless = (int(world.repository()) for _ in range(3))
    made, soon = context(), world.now_ms + HOUR_MS
    react(made, [tag_event(now, 1000), tag_event(later, soon), tag_event(endless, None)])
    assert enqueued(made) == [now]
    assert noted(world) == {now: 1000, later: soon}


def test_of_two_tags_the_earlier_instant_counts(world: World) -> None:
    repository, soon = int(world.repository()), world.now_ms + HOUR_MS
    react(context(), [tag_event(repository, soon + 1000), tag_event(repository, soon)])
    react(context(), [tag_event(repository, soon + 500)])
    assert noted(world) == {repository: soon}


def test_a_malformed_event_changes_nothing(world: World) -> None:
    made = context()
    with pytest.raises(KeyError):
        react(made, [tag_event(world.repository_id, 1000), {"type": types.TAG_DELETED, "data": {}}])
    assert not enqueued(made) and not noted(world)


def test_a_cache_that_cannot_be_told_is_told_again(world: World) -> None:
    made = context("redis://127.0.0.1:1/0")
    with pytest.raises(CacheBehind):
        react(made, [tag_event(world.repository_id, 1000)])
    assert enqueued(made) == [world.repository_id], "the collection does not wait for the cache"


def test_an_event_of_a_repository_that_is_gone_is_no_work(world: World) -> None:
    made = context()
    react(made, [tag_event(2**31 - 1, 1000)])
    assert not enqueued(made) and not noted(world)


def test_an_event_of_another_service_is_no_concern_of_ours() -> None:
    react(context(), [{"type": "registry.repository.mirrored", "data": {}}])


def test_a_collected_manifest_leaves_the_cache_with_its_subject_and_its_blobs() -> None:
    data = {**tag_event(1, None)["data"], "referred": digest_of("s"), "blobs": [digest_of("b")]}
    kinds = {key.kind for key in stale_keys({"type": types.MANIFEST_COLLECTED, "data": data})}
    assert {"repository_manifest", "manifest_referrers", "repository_blob", "security_report"} <= kinds


def test_a_whole_collection_in_one_event_has_the_keys_of_all_its_manifests() -> None:
    about = tag_event(1, None)["data"]
    one = [{"digest": digest_of(str(n)), "referred": None} for n in range(3)]
    keys = list(stale_keys({"type": types.MANIFEST_COLLECTED, "data": {**about, "items": one}}))
    assert sum(key.kind == "repository_manifest" for key in keys) == 3
    erased = {"items": [{"digest": digest_of("b")}, {"digest": None}]}
    assert len(list(stale_keys({"type": types.BLOB_ERASED, "data": erased}))) == 1
