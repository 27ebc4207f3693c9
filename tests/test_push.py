"""Pushing a blob: the reference first, the bytes after, beside erasers, reviews and other pushes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from model import digest as digests
from model.blob import begin_push, find_blob, finish_push, mount_blob
from model.clock import now_ms
from model.database import execute, fetch, transaction
from model.errors import BadDigest, BlobGone, DigestBusy, NoSuchBlob, NoSuchRepository
from model.policy import DEFAULT
from tests.world import World
from worker.jobs.push import store_blob
from worker.storage.driver import Stores, open_stores

CONTENT = b"a layer" * 1000
DIGEST = digests.of(CONTENT)


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return open_stores({"local_us": f"file://{tmp_path}?fsync=off"})


def push(world: World, stores: Stores, content: bytes = CONTENT, digest: str = DIGEST):  # type: ignore[no-untyped-def]
    return store_blob(stores, world.repository_id, digest, lambda: [content], policy=DEFAULT)


def test_a_new_blob_is_stored_ready_and_held(world: World, stores: Stores) -> None:
    pushed = push(world, stores)
    assert b"".join(stores["local_us"].read(pushed.path)) == CONTENT
    found = find_blob(world.repository_id, DIGEST, now_ms=now_ms())
    assert found is not None
    assert (found.size, found.locations) == (len(CONTENT), ("local_us",))
