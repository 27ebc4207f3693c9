"""How long a push waits for an eraser of a bucket that is frozen (SIGSTOP), and how its object fares."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from model.db.clock import now_ms
from tests.support.eraser import CONTENT, EraserFixture
from tests.support.frozen_eraser import DAY_S, freeze, frozen, push_until_it_goes
from tests.support.world import World
from worker.jobs.erase import USUAL_MS, WINDOW_MS, fence_of
from worker.storage import s3_client
from worker.storage.open import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(params=["plain", "versioned"])
def eraser(
    request: pytest.FixtureRequest, world: World, bucket_url: str, s3_endpoint: str, tmp_path: Path
) -> EraserFixture:
    if request.param == "versioned":
        client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
        bucket = bucket_url.removeprefix("s3://").partition("/")[0]
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    return EraserFixture(world, tmp_path, store=open_store(bucket_url))


def stop_before_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The eraser has looked at the clock for the last time, and stops before the bytes of its delete go."""
    look = s3_client._refuse_late

    def prepare() -> None:
        def look_and_stop(**request: Any) -> None:
            look(**request)
            freeze()

        monkeypatch.setattr(s3_client, "_refuse_late", look_and_stop)

    return prepare


def test_a_push_waits_a_few_seconds_for_a_frozen_eraser_and_its_object_comes_back(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = eraser.tombstone("dead")
    with frozen(eraser, stop_before_it_is_sent(monkeypatch)):
        (until_ms,) = eraser.world.rows("SELECT fenced_until_ms FROM dredge_tombstone")[0]
        assert until_ms - now_ms() <= WINDOW_MS + USUAL_MS < fence_of(eraser.store)
        started = time.monotonic()
        push = push_until_it_goes(eraser.world, dead.digest)
        print(f"a push beside a frozen eraser waits {time.monotonic() - started:.1f} s")  # noqa: T201 (a figure)
        eraser.store.write(push.path, [CONTENT])
    # The eraser woke: its delete came long after the fence, and took the new object.
    eraser.world.execute("UPDATE dredge_quarantine SET look_ms = 0")
    eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0, fenced_until_ms = NULL")
    eraser.run(quarantine_s=DAY_S)
    assert b"".join(eraser.store.read(dead.path)) == CONTENT and not eraser.left()
    eraser.world.execute("UPDATE dredge_quarantine SET look_ms = 0, purge_ms = 1")
    eraser.run(quarantine_s=DAY_S)
    assert b"".join(eraser.store.read(dead.path)) == CONTENT


def test_a_bucket_whose_objects_are_erased_at_once_keeps_the_whole_fence(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could put the object back, so the push must not begin before the last moment of the request."""
    dead = eraser.tombstone("dead")
    with frozen(eraser, stop_before_it_is_sent(monkeypatch), quarantine_s=0):
        (until_ms,) = eraser.world.rows("SELECT fenced_until_ms FROM dredge_tombstone")[0]
        assert until_ms - now_ms() > eraser.store.late_delete_ms
    assert eraser.store.size(dead.path) is None
