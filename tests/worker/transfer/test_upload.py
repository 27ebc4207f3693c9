"""Resumable uploads: what survives an interruption, and that no chunk is left behind."""

from __future__ import annotations

import uuid

import pytest

from model import digest as digests
from model.blob_list import find_blob
from model.db.clock import now_ms
from model.db.connection import execute, fetch
from model.errors import BadDigest, Contended, NoSuchRepository, NoSuchUpload
from model.gc.orphans.objects import find_known
from model.gc.repository_lock import read_repository
from model.gc.uploads import purge_expired_uploads
from model.policy import DEFAULT
from model.upload import Upload, begin_upload, end_upload, find_upload, reserve_chunk
from tests.support.world import World
from worker.storage.base import Stores
from worker.transfer.upload import append, finish

CONTENT = b"one two three"
DIGEST = digests.of(CONTENT)


def begin(world: World) -> Upload:
    return begin_upload(world.repository_id, location="local_us", now_ms=world.now_ms)


def filled(world: World, stores: Stores) -> Upload:
    upload = begin(world)
    for part in (b"one ", b"two ", b"three"):
        upload = append(stores, upload, [part])
    return upload


def objects(stores: Stores) -> set[str]:
    return {found.path for found in stores["local_us"].list()}


def tombstones() -> set[str]:
    return {row.path for row in fetch("SELECT path FROM dredge_tombstone")}


def test_an_upload_is_resumed_where_it_stopped_and_becomes_a_blob(world: World, stores: Stores) -> None:
    upload = filled(world, stores)
    resumed = find_upload(world.repository_id, upload.uuid)
    assert (resumed, resumed.size, len(resumed.paths)) == (upload, len(CONTENT), 3)
    pushed = finish(stores, resumed, DIGEST, policy=DEFAULT)
    assert b"".join(stores["local_us"].read(pushed.path)) == CONTENT
    assert find_blob(world.repository_id, DIGEST, now_ms=now_ms()) is not None
    assert fetch("SELECT id FROM blobupload") == []
    assert objects(stores) - tombstones() == {pushed.path}


def test_a_wrong_digest_leaves_the_upload_open_and_gives_no_hold(world: World, stores: Stores) -> None:
    upload = filled(world, stores)
    with world.unchanged(), pytest.raises(BadDigest):
        finish(stores, upload, digests.of(b"a blob of others"), policy=DEFAULT)
    assert finish(stores, upload, DIGEST, policy=DEFAULT).digest == DIGEST


def test_a_chunk_written_before_a_crash_goes_with_the_upload(world: World, stores: Stores) -> None:
    upload = append(stores, begin(world), [b"one "])
    lost = reserve_chunk(upload)
    stores["local_us"].write(lost, [b"never noted"])
    upload = append(stores, upload, [b"two three"])
    assert finish(stores, upload, DIGEST, policy=DEFAULT).digest == DIGEST
    assert lost in tombstones()


def test_of_two_chunks_at_once_the_refused_one_leaves_the_accepted_one_whole(
    world: World, stores: Stores
) -> None:
    upload = begin(world)
    accepted = append(stores, upload, [CONTENT])
    before = objects(stores)
    with pytest.raises(Contended):
        append(stores, upload, [b"other bytes"])
    assert objects(stores) == before
    assert finish(stores, accepted, DIGEST, policy=DEFAULT).digest == DIGEST


def test_case_64_chunks_that_a_running_upload_of_a_quay_names_are_known(world: World) -> None:
    named, unnamed = f"uploads/{uuid.uuid4()}", f"uploads/{uuid.uuid4()}"
    running = world.upload(chunks=[named])
    assert find_known([named, unnamed, f"uploads/{running.uuid}"], "local_us") == {
        named,
        f"uploads/{running.uuid}",
    }


def test_case_64_the_tombstones_of_a_dead_upload_of_a_quay_name_its_chunks(world: World) -> None:
    named = [f"uploads/{uuid.uuid4()}" for _ in range(2)]
    world.upload(chunks=[*named, "uploads/../sha256/aa/aa", "sha256/aa/aa"], created_ms=0)
    world.upload(chunks=[f"uploads/{uuid.uuid4()}"])
    scope = read_repository(world.repository_id)
    assert scope is not None
    purge_expired_uploads([scope], policy=DEFAULT, limit=10)
    assert tombstones() == set(named)


def test_a_cancelled_upload_leaves_orders_to_erase_all_its_chunks(world: World, stores: Stores) -> None:
    upload, bystander = filled(world, stores), filled(world, stores)
    for _ in range(2):
        end_upload(upload, now_ms=world.now_ms)
    assert {path for path in objects(stores) if upload.uuid in path} < tombstones()
    assert not {path for path in tombstones() if bystander.uuid in path}
    with pytest.raises(NoSuchUpload):
        find_upload(world.repository_id, upload.uuid)


def test_an_upload_that_was_collected_takes_no_more_and_leaves_nothing(world: World, stores: Stores) -> None:
    upload = filled(world, stores)
    execute("DELETE FROM blobupload")
    before = objects(stores)
    with pytest.raises(NoSuchUpload):
        append(stores, upload, [b"more"])
    assert objects(stores) == before
    stores["local_us"].erase(list(upload.paths))
    with pytest.raises(NoSuchUpload):
        finish(stores, upload, DIGEST, policy=DEFAULT)


def test_the_collection_finds_every_chunk_of_an_abandoned_upload(world: World, stores: Stores) -> None:
    upload, young = filled(world, stores), begin(world)
    quays = world.insert(
        "blobupload",
        repository_id=world.repository_id,
        uuid="0f0f0f0f-0000-0000-0000-000000000000",
        byte_count=5,
        storage_metadata="{}",
        chunk_count=2,
        location_id=world.lookup("imagestoragelocation", "local_us"),
        created="2001-01-01",
    )
    execute("UPDATE blobupload SET created = '2001-01-01' WHERE id = ANY(%s)", ([upload.id, quays],))
    scope = read_repository(world.repository_id)
    assert scope is not None
    purge_expired_uploads([scope], policy=DEFAULT, limit=10)
    assert [row.id for row in fetch("SELECT id FROM blobupload")] == [young.id]
    assert set(upload.paths) < tombstones()
    assert tombstones() - set(upload.paths) == {
        f"uploads/{upload.uuid}-3",  # it might have been reserved
        "uploads/0f0f0f0f-0000-0000-0000-000000000000",
    }


def test_an_upload_needs_a_repository(world: World) -> None:
    gone = world.repository()
    world.mark_deleted(gone)
    for repository in (int(gone), 999_999):
        with world.unchanged(), pytest.raises(NoSuchRepository):
            begin_upload(repository, location="local_us", now_ms=world.now_ms)
