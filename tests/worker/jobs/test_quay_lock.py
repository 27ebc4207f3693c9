"""Beside a live Quay: its lock on a digest is respected, and nothing is erased without it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import redis
import redis_lock

from model.gc.tombstones import Tombstone
from tests.support.eraser import EraserFixture, Wrapped
from tests.support.world import World
from worker.jobs import erase as module
from worker.jobs.erase_outcome import Cleared
from worker.local.embedded import EmbeddedServers
from worker.quay.quay_lock import QuayLocks
from worker.storage.base import Erased

AWAY = "redis://127.0.0.1:1/0"


@pytest.fixture
def eraser(world: World, tmp_path: Path) -> EraserFixture:
    return EraserFixture(world, tmp_path / "objects")


def lock_of(client: redis.Redis, digest: str) -> redis_lock.Lock:
    return redis_lock.Lock(client, f"BLOB_DELETE_{digest}", expire=30)


def test_the_lock_is_held_while_the_object_is_erased_and_released_after(
    eraser: EraserFixture, valkey: str
) -> None:
    tombstone = eraser.tombstone("dead")
    with redis.Redis.from_url(valkey) as client:
        seen: list[bool] = []

        def during(path: str) -> Erased | None:
            seen.append(lock_of(client, tombstone.digest).acquire(blocking=False))
            return None

        assert eraser.erase(Wrapped(eraser.store, during), quay_redis_url=valkey).objects == 1
        assert seen == [False]
        assert lock_of(client, tombstone.digest).acquire(blocking=False)


def test_the_lease_of_the_lock_is_as_long_as_a_request_may_take(eraser: EraserFixture, valkey: str) -> None:
    """Nothing renews it: it must not end before the request has landed."""
    tombstone, late_ms = eraser.tombstone("dead"), 60_000
    with redis.Redis.from_url(valkey) as client:
        left_ms: list[int] = []

        def during(path: str) -> Erased | None:
            left_ms.append(client.pttl(f"lock:BLOB_DELETE_{tombstone.digest}"))
            return None

        slow = Wrapped(eraser.store, during, late_delete_ms=late_ms)
        assert eraser.erase(slow, quay_redis_url=valkey).objects == 1
    assert left_ms[0] > late_ms


def test_case_59_a_redis_that_was_flushed_after_the_lock_stops_the_request(
    eraser: EraserFixture, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tombstone = eraser.tombstone("dead")

    class Flushed(QuayLocks):
        def take(self, tombstones: Iterable[Tombstone]) -> tuple[list[Tombstone], list[Tombstone]]:
            taken = super().take(tombstones)
            with redis.Redis.from_url(valkey) as client:
                client.flushall()
            return taken

    monkeypatch.setattr(module, "QuayLocks", Flushed)
    assert eraser.erase(quay_redis_url=valkey) == Cleared(failed=1)
    assert eraser.paths() == {tombstone.path} and eraser.left() == [tombstone]
    assert "forgotten" in eraser.row(tombstone)["last_error"]


def test_an_object_whose_lock_quay_holds_is_postponed_and_the_others_go(
    eraser: EraserFixture, valkey: str
) -> None:
    held, free = eraser.tombstone("held"), eraser.tombstone("free")
    with redis.Redis.from_url(valkey) as client, lock_of(client, held.digest):
        cleared = eraser.erase(quay_redis_url=valkey)
    assert cleared == Cleared(objects=1, bytes=10, failed=1)
    assert eraser.paths() == {held.path} and eraser.left() == [held] and free
    assert "Quay holds" in eraser.row(held)["last_error"]
    eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0")
    assert eraser.erase(quay_redis_url=valkey).objects == 1 and not eraser.left()


def test_case_35_without_redis_nothing_is_erased_and_nothing_lost(eraser: EraserFixture, valkey: str) -> None:
    tombstones = eraser.tombstones(3)
    assert eraser.erase(quay_redis_url=AWAY) == Cleared(failed=3)
    assert len(eraser.paths()) == 3 and eraser.left() == tombstones
    eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0")
    assert eraser.erase(quay_redis_url=valkey).objects == 3


def test_a_redis_that_hangs_is_asked_once_for_all(
    eraser: EraserFixture, valkey: str, servers: EmbeddedServers
) -> None:
    tombstones = eraser.tombstones(5)
    assert servers.valkey is not None
    servers.valkey.freeze()
    try:
        assert eraser.erase(quay_redis_url=valkey) == Cleared(failed=5)
    finally:
        servers.valkey.thaw()
    assert eraser.left() == tombstones


def test_without_a_live_quay_no_redis_is_asked(eraser: EraserFixture) -> None:
    eraser.tombstone("dead")
    assert eraser.erase(quay_redis_url="").objects == 1


def test_a_row_that_quay_wrote_before_we_got_its_lock_keeps_the_object(
    eraser: EraserFixture, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quay's pushes know no tombstones: between our look and our lock one may have committed."""
    again, dead = eraser.tombstone("again"), eraser.tombstone("dead")
    row = eraser.world.insert(
        "imagestorage", uuid="pushed", uploading=True, cas_path=True, content_checksum="sha256:0"
    )

    class Late(QuayLocks):
        def take(self, tombstones: Iterable[Tombstone]) -> tuple[list[Tombstone], list[Tombstone]]:
            eraser.world.execute(
                "UPDATE imagestorage SET content_checksum = %s WHERE id = %s", (again.digest, row)
            )
            return super().take(tombstones)

    monkeypatch.setattr(module, "QuayLocks", Late)
    assert eraser.run(quay_redis_url=valkey) == Cleared(objects=1, bytes=10, dropped=1)
    assert eraser.paths() == {again.path} and not eraser.left() and dead


def test_a_stone_without_a_digest_needs_no_lock(eraser: EraserFixture) -> None:
    tombstone = eraser.tombstone("chunk")
    eraser.world.execute("UPDATE dredge_tombstone SET digest = NULL WHERE id = %s", (int(tombstone),))
    assert eraser.erase(quay_redis_url=AWAY).objects == 1
