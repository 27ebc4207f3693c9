"""What the workers do about an event: collect now, or note when, and forget what is cached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from model.cache.open import open_cache
from model.events import record as types
from model.gc.next_due import find_next_due_ms
from model.policy import DEFAULT
from tests.support.world import World, digest_of
from worker.events.message import CloudEvent
from worker.events.react import CacheBehind, react, stale_keys
from worker.jobs.context import JobContext
from worker.settings import Settings
from worker.storage.base import Stores

HOUR_MS = 3_600_000


class Notes:
    """A queue and a due set that only remember."""

    def __init__(self) -> None:
        self.enqueued: list[int] = []
        self.due: dict[int, int] = {}

    def collect(self, repository_ids: Sequence[int]) -> int:
        self.enqueued += repository_ids
        return len(repository_ids)

    def remember(self, due: Mapping[int, int]) -> None:
        self.due |= due


def context(notes: Notes, cache_url: str = "memory://") -> JobContext:
    parts: Any = {"queue": notes, "due": notes}
    return JobContext(Settings(), DEFAULT, Stores({}, "local_us"), open_cache(cache_url), **parts)


def tag_event(repository_id: int, until: int | None, type: str = types.TAG_DELETED) -> CloudEvent:
    data = {"namespace": "acme", "repository": "app", "repository_id": repository_id, "tag": "v1"}
    return {"type": type, "data": {**data, "digest": digest_of("x"), "recoverable_until_ms": until}}


def test_what_is_due_is_enqueued_and_what_will_be_is_noted() -> None:
    notes = Notes()
    react(context(notes), [tag_event(1, 1000), tag_event(2, 1001), tag_event(3, None)], now_ms=1000)
    assert notes.enqueued == [1]
    assert notes.due == {2: 1001}


def test_of_two_tags_the_earlier_instant_counts() -> None:
    notes = Notes()
    react(context(notes), [tag_event(1, 3000), tag_event(1, 2000)], now_ms=1000)
    assert notes.due == {1: 2000}


def test_a_malformed_event_changes_nothing() -> None:
    notes = Notes()
    with pytest.raises(KeyError):
        react(context(notes), [tag_event(1, 1000), {"type": types.TAG_DELETED, "data": {}}], now_ms=1000)
    assert not notes.enqueued and not notes.due


def test_a_cache_that_cannot_be_told_is_told_again() -> None:
    notes = Notes()
    with pytest.raises(CacheBehind):
        react(context(notes, "redis://127.0.0.1:1/0"), [tag_event(1, 1000)], now_ms=1000)
    assert notes.enqueued == [1], "the collection does not wait for the cache"


def test_an_event_of_another_service_is_no_concern_of_ours() -> None:
    react(context(Notes()), [{"type": "registry.repository.mirrored", "data": {}}], now_ms=1)


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


def test_the_next_instant_is_that_of_the_first_tag_that_is_still_recoverable(world: World) -> None:
    owner = world.namespace("hourly", window_s=3600)
    repository = world.repository(namespace=owner)
    now = world.now_ms
    assert find_next_due_ms(int(repository)) is None
    for ended_ms in (None, now - HOUR_MS, now - 1000, now - 5000, now + 5):
        world.tag(repository=repository, ended_ms=ended_ms)
    assert find_next_due_ms(int(repository)) == now - 5000 + HOUR_MS
    assert find_next_due_ms(2**31 - 1) is None
