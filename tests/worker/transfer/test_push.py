"""Pushing a blob: the reference first, the bytes after, beside erasers, reviews and other pushes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from model import blob
from model import digest as digests
from model.blob import Push, begin_push, extend_push, finish_push, mount_blob, release_pushes
from model.blob_list import find_blob, find_blobs
from model.db import connection as database
from model.db.clock import now_ms
from model.db.connection import connection, execute, fetch, transaction
from model.errors import BadDigest, BlobGone, DigestBusy, NoSuchBlob, NoSuchRepository
from model.gc.review import review_batch
from model.gc.tombstones import claim_tombstones, settle_tombstones
from model.policy import DEFAULT
from tests.support.patience import PATIENCE_S
from tests.support.world import World
from worker.storage.base import Stores
from worker.transfer.push import store_blob

CONTENT = b"a layer" * 1000
DIGEST = digests.of(CONTENT)
PATH = f"sha256/{DIGEST[7:9]}/{DIGEST[7:]}"


@pytest.fixture(autouse=True)
def _repository(world: World) -> int:
    return world.repository_id


@pytest.fixture
def now(world: World) -> int:
    return world.now_ms


def store(world: World, stores: Stores, content: bytes = CONTENT, digest: str = DIGEST) -> Push:
    return store_blob(stores, world.repository_id, digest, lambda: [content], policy=DEFAULT)


def begin(world: World, now: int, digest: str = DIGEST) -> Push:
    return begin_push(
        world.repository_id, digest, len(CONTENT), location="local_us", policy=DEFAULT, now_ms=now
    )


def tombstone(world: World, **facts: object) -> int:
    columns = {
        "digest": DIGEST,
        "path": PATH,
        "location": "local_us",
        "size": 1,
        "created_ms": 0,
        "due_ms": 0,
    }
    return world.insert("dredge_tombstone", **(columns | facts))


def test_a_new_blob_is_stored_ready_and_held(world: World, stores: Stores) -> None:
    with world.changes() as changes:
        pushed = store(world, stores)
    assert b"".join(stores["local_us"].read(pushed.path)) == CONTENT
    (row,) = changes.added["imagestorage"].values()
    assert (row["content_checksum"], row["image_size"]) == (DIGEST, len(CONTENT))
    assert (row["cas_path"], row["uploading"], pushed.path) == (True, False, PATH)
    assert {name: len(rows) for name, rows in changes.added.items() if not name.startswith("dredge_")} == {
        "imagestorage": 1,
        "imagestorageplacement": 1,
        "uploadedblob": 1,
    }
    assert not changes.removed
    found = find_blob(world.repository_id, DIGEST, now_ms=now_ms())
    assert found is not None
    assert (found.size, found.path, found.locations) == (len(CONTENT), PATH, ("local_us",))


def test_a_second_push_uses_the_row_and_does_not_write_again(world: World, stores: Stores) -> None:
    first = store(world, stores)
    (before,) = stores["local_us"].list()
    with world.changes() as changes:
        second = store(world, stores)
    assert (second.blob_id, second.known) == (first.blob_id, True)
    assert set(changes.added) == {"uploadedblob"}
    assert not changes.changed
    assert list(stores["local_us"].list()) == [before]


def test_a_known_blob_whose_object_is_missing_is_written_again(world: World, stores: Stores) -> None:
    store(world, stores)
    stores["local_us"].erase([PATH])
    assert store(world, stores).known
    assert stores["local_us"].size(PATH) == len(CONTENT)


def test_wrong_bytes_are_refused_and_nothing_is_stored(world: World, stores: Stores) -> None:
    with pytest.raises(BadDigest):
        store(world, stores, content=b"something else")
    assert list(stores["local_us"].list()) == []
    assert find_blob(world.repository_id, DIGEST, now_ms=now_ms()) is None
    # The row that was made is left to the review, which is told of it.
    assert fetch("SELECT b.id FROM imagestorage b JOIN dredge_blob_candidate c ON c.blob_id = b.id")


def test_wrong_bytes_give_no_access_to_a_blob_of_others(world: World, stores: Stores) -> None:
    other = world.repository()
    store_blob(stores, int(other), DIGEST, lambda: [CONTENT], policy=DEFAULT)
    with pytest.raises(BadDigest):
        store(world, stores, content=b"a guess")
    assert find_blob(world.repository_id, DIGEST, now_ms=now_ms()) is None
    assert find_blob(int(other), DIGEST, now_ms=now_ms()) is not None


@pytest.mark.parametrize(
    "digest", ["sha256:abc", "md5:" + "0" * 32, "../../x", "sha256:" + "G" * 64, "", None]
)
def test_a_digest_that_is_none_is_refused(world: World, stores: Stores, digest: str) -> None:
    with world.unchanged(), pytest.raises(BadDigest):
        store(world, stores, digest=digest)


@pytest.mark.parametrize("state", ["missing", "marked for deletion"])
def test_a_repository_that_goes_takes_no_push(world: World, stores: Stores, state: str) -> None:
    repository: Any = world.repository() if state == "marked for deletion" else 999_999
    if state == "marked for deletion":
        world.mark_deleted(repository)
    with world.unchanged(), pytest.raises(NoSuchRepository):
        store_blob(stores, int(repository), DIGEST, lambda: [CONTENT], policy=DEFAULT)


def test_two_pushes_of_one_new_digest_at_once_make_one_row(world: World, stores: Stores) -> None:
    repositories = [int(world.repository()) for _ in range(6)]
    gate = threading.Barrier(len(repositories))

    def push(repository_id: int) -> int:
        gate.wait()
        with connection():
            return store_blob(stores, repository_id, DIGEST, lambda: [CONTENT], policy=DEFAULT).blob_id

    with ThreadPoolExecutor(len(repositories)) as pool:
        pushed = list(pool.map(push, repositories))
    assert len(set(pushed)) == 1
    assert len(fetch("SELECT id FROM imagestorage")) == 1
    assert len(fetch("SELECT id FROM imagestorageplacement")) == 1


def test_of_several_rows_for_a_digest_a_ready_one_is_used(world: World, now: int) -> None:
    world.blob(7, digest=DIGEST, placement=None)
    world.blob(7, digest=DIGEST, placement=None)
    ready = world.blob(7, digest=DIGEST, cas_path=False)
    pushed = begin(world, now)
    assert (pushed.blob_id, pushed.known) == (int(ready), True)
    assert pushed.path == f"sharedimages/{ready.uuid}/layer"


def test_a_blob_without_a_place_gets_one_and_its_bytes(world: World, stores: Stores) -> None:
    blob = world.blob(None, digest=DIGEST, placement=None)
    pushed = store(world, stores)
    assert (pushed.blob_id, pushed.known) == (int(blob), False)
    assert stores["local_us"].size(PATH) == len(CONTENT)
    assert find_blob(world.repository_id, DIGEST, now_ms=now_ms()).locations == ("local_us",)  # type: ignore[union-attr]


def test_until_its_object_is_in_place_a_push_shows_nobody_a_blob(
    world: World, stores: Stores, now: int
) -> None:
    pushed = begin(world, now)
    assert find_blob(world.repository_id, DIGEST, now_ms=now) is None
    assert not fetch("SELECT id FROM imagestorageplacement")
    stores["local_us"].write(PATH, [CONTENT])
    finish_push(pushed, len(CONTENT), policy=DEFAULT, now_ms=now)
    assert find_blob(world.repository_id, DIGEST, now_ms=now) is not None
    assert not fetch("SELECT blob_id FROM dredge_push")


def test_the_object_of_a_push_that_died_before_its_placement_is_erased(
    world: World, stores: Stores, now: int
) -> None:
    pushed = begin(world, now)
    stores["local_us"].write(PATH, [CONTENT])
    release_pushes([pushed], now_ms=now)  # as the collection of its expired marker does
    assert review_batch(policy=DEFAULT, limit=10).blobs == 1
    assert [tuple(row) for row in fetch("SELECT digest, path, location FROM dredge_tombstone")] == [
        (DIGEST, PATH, "local_us")
    ]
    assert not fetch("SELECT blob_id FROM dredge_push")


def test_a_push_cancels_the_order_to_erase(world: World, stores: Stores) -> None:
    mine, other = tombstone(world), tombstone(world, digest=digests.of(b"other"), path="sha256/00/other")
    store(world, stores)
    assert [row.id for row in fetch("SELECT id FROM dredge_tombstone")] == [other] != [mine]


def test_orders_to_erase_other_objects_of_the_digest_stand(world: World, stores: Stores) -> None:
    elsewhere = tombstone(world, location="eu")
    store(world, stores)
    assert [row.id for row in fetch("SELECT id FROM dredge_tombstone")] == [elsewhere]


def test_a_push_waits_for_the_eraser_and_then_writes_the_object_again(world: World, stores: Stores) -> None:
    tombstone(world)
    stores["local_us"].write(PATH, [CONTENT])
    claimed, finished = threading.Event(), threading.Event()

    def push() -> Push:
        claimed.wait()
        with connection():
            pushed = store(world, stores)
        finished.set()
        return pushed

    with ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(push)
        with transaction():
            claim = claim_tombstones("local_us", limit=10, fence_ms=60_000, lease_ms=60_000, set_aside=False)
        claimed.set()
        assert not finished.wait(0.3)
        stores["local_us"].erase([PATH])
        settle_tombstones(claim.token, [found.id for found in claim.tombstones])
        pushing.result(PATIENCE_S)
    assert stores["local_us"].size(PATH) == len(CONTENT)
    assert fetch("SELECT id FROM dredge_tombstone") == []


def test_a_fenced_digest_is_busy_and_nothing_changes(
    world: World, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob, "PATIENCE_S", 0.1)
    fenced = tombstone(world, fenced_until_ms=world.now_ms + 60_000)
    with world.changes() as changes, pytest.raises(DigestBusy) as caught:
        store(world, stores)
    assert caught.value.retryable
    assert not changes
    assert list(stores["local_us"].list()) == []
    execute("UPDATE dredge_tombstone SET fenced_until_ms = 1 WHERE id = %s", (fenced,))
    store(world, stores)
    assert fetch("SELECT id FROM dredge_tombstone") == []


def test_a_crash_after_any_step_leaves_something_that_expires(world: World, stores: Stores) -> None:
    """Whatever row there is has a marker, and the marker an end: the collector comes by."""

    class Crash(BaseException):
        pass

    statements = count = 0
    real = database.db.obj.execute_sql

    def stop(sql: str, params: object = None) -> object:
        nonlocal count
        count += 1
        if count == statements:
            raise Crash
        return real(sql, params)

    for statements in range(1, 40):
        digest = digests.of(content := b"%d" % statements)
        count = 0
        database.db.obj.execute_sql = stop
        try:
            store(world, stores, content, digest)
        except Crash:
            pass
        else:
            assert statements > 5
            return
        finally:
            database.db.obj.execute_sql = real
        unheld = fetch(
            "SELECT b.id FROM imagestorage b WHERE NOT EXISTS (SELECT FROM uploadedblob u"
            " WHERE u.blob_id = b.id AND u.expires_at < now() AT TIME ZONE 'utc' + interval '2 hours')"
        )
        assert unheld == []
        objects = {found.path for found in stores["local_us"].list()}
        rows = {row.d for row in fetch("SELECT content_checksum AS d FROM imagestorage")}
        assert {path.rpartition("/")[2] for path in objects} <= {row[7:] for row in rows}
    pytest.fail("the push never got through")


def test_an_upload_longer_than_its_marker_begins_again(world: World, stores: Stores) -> None:
    reviewed = False

    def slow() -> Iterator[bytes]:
        nonlocal reviewed
        yield CONTENT[:10]
        if not reviewed:  # the marker expires, is collected, and the review takes the row
            reviewed = True
            execute("DELETE FROM uploadedblob")
            execute("DELETE FROM imagestorageplacement")
            execute("DELETE FROM imagestorage")
            tombstone(world)
        yield CONTENT[10:]

    store_blob(stores, world.repository_id, DIGEST, slow, policy=DEFAULT)
    assert find_blob(world.repository_id, DIGEST, now_ms=now_ms()) is not None
    assert stores["local_us"].size(PATH) == len(CONTENT)
    assert fetch("SELECT id FROM dredge_tombstone") == []


def test_a_hold_can_be_renewed_until_it_was_collected(world: World, now: int) -> None:
    pushed = begin(world, now)
    extend_push(pushed, policy=replace(DEFAULT, push_ttl_ms=9 * 3_600_000), now_ms=now)
    assert fetch(
        "SELECT id FROM uploadedblob WHERE expires_at > now() AT TIME ZONE 'utc' + interval '8 hours'"
    )
    execute("DELETE FROM uploadedblob")
    with world.unchanged(), pytest.raises(BlobGone):
        finish_push(pushed, 7, policy=DEFAULT, now_ms=now)


def test_a_blob_is_found_only_through_its_own_repository(world: World, now: int) -> None:
    other = world.repository()
    mine, held, expired, loading = (world.blob() for _ in range(4))
    world.manifest(blobs=[mine])
    world.uploaded(held, expires_ms=now + 1000)
    world.uploaded(expired, expires_ms=now)
    half = world.blob(placement=None)
    world.uploaded(half, expires_ms=now + 1000)

    def seen(repository: int, blob: object) -> bool:
        return find_blob(repository, blob.digest, now_ms=now) is not None  # type: ignore[attr-defined]

    assert [seen(world.repository_id, blob) for blob in (mine, held, expired, loading, half)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert not seen(int(other), mine)


def test_case_60_a_blob_that_a_quay_wrote_is_found_mounted_and_not_written_again(
    world: World, stores: Stores, now: int
) -> None:
    blob, other = world.blob(len(CONTENT), digest=DIGEST), world.repository()
    assert world.value("SELECT uploading FROM imagestorage WHERE id = %s", (int(blob),)) is True
    world.manifest(blobs=[blob])
    stores["local_us"].write(PATH, [CONTENT])
    assert find_blob(world.repository_id, DIGEST, now_ms=now) is not None
    assert find_blobs(world.repository_id, now_ms=now).blobs[0].digest == DIGEST
    mounted = mount_blob(world.repository_id, int(other), DIGEST, policy=DEFAULT, now_ms=now)
    assert (mounted.blob_id, store(world, stores).known) == (int(blob), True)


def test_a_mount_holds_the_blob_for_the_other_repository(world: World, now: int) -> None:
    other, blob = world.repository(), world.blob()
    world.manifest(blobs=[blob])
    with world.changes() as changes:
        found = mount_blob(world.repository_id, int(other), blob.digest, policy=DEFAULT, now_ms=now)
    assert found.blob_id == int(blob)
    assert set(changes.added) == {"uploadedblob"}
    assert find_blob(int(other), blob.digest, now_ms=now) is not None


def test_a_mount_of_what_the_repository_lacks_is_refused(world: World, now: int) -> None:
    blob = world.blob()
    with world.unchanged(), pytest.raises(NoSuchBlob):
        mount_blob(world.repository_id, int(world.repository_id), blob.digest, policy=DEFAULT, now_ms=now)


def test_a_mount_waits_for_the_review_and_says_what_it_decided(world: World, now: int) -> None:
    other, blob = int(world.repository()), world.blob()
    world.uploaded(blob, expires_ms=now + 1000)
    locked = threading.Event()

    def mount() -> object:
        locked.wait()
        with connection():
            return mount_blob(world.repository_id, other, blob.digest, policy=DEFAULT, now_ms=now)

    with ThreadPoolExecutor(1) as pool:
        mounting = pool.submit(mount)
        with transaction():
            execute("SELECT id FROM imagestorage WHERE id = %s FOR UPDATE", (int(blob),))
            locked.set()
            with pytest.raises(TimeoutError):
                mounting.result(0.3)
            execute("DELETE FROM uploadedblob")
            execute("DELETE FROM imagestorageplacement")
            execute("DELETE FROM imagestorage WHERE id = %s", (int(blob),))
        with pytest.raises(NoSuchBlob):
            mounting.result(PATIENCE_S)


def test_letting_go_makes_a_candidate_once(world: World, now: int) -> None:
    pushed, bystander = begin(world, now), begin(world, now, digests.of(b"bystander"))
    for _ in range(2):
        release_pushes([pushed], now_ms=now)
    assert [row.blob_id for row in fetch("SELECT blob_id FROM dredge_blob_candidate")] == [pushed.blob_id]
    assert [row.id for row in fetch("SELECT id FROM uploadedblob")] == [bystander.marker_id]
