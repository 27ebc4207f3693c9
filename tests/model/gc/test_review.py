"""The review of blobs that lost a reference: which rows go, and that each object owes a tombstone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model.db.connection import transaction
from model.gc.review import review_batch
from model.policy import DEFAULT
from model.storage_paths import EMPTY_LAYER
from tests.support.world import World


@pytest.fixture(autouse=True)
def bystander(world: World) -> None:
    """A blob that a living image uses, and one that a push holds: both were reported by mistake."""
    used, held = world.blob(), world.blob()
    world.tag("bystander", manifest=world.manifest(blobs=[used]))
    world.uploaded(held)
    report(world, used, held)


def report(world: World, *blobs: int) -> None:
    for blob in blobs:
        world.execute(
            "INSERT INTO dredge_blob_candidate (blob_id, repository_id, created_ms) VALUES (%s, %s, 0)",
            (int(blob), world.repository_id),
        )


def tombstones(world: World) -> set[tuple[str | None, str, str]]:
    return set(world.rows("SELECT digest, path, location FROM dredge_tombstone"))


def path_of(digest: str) -> str:
    hex = digest.removeprefix("sha256:")
    return f"sha256/{hex[:2]}/{hex}"


def test_a_blob_nothing_refers_to_goes_with_its_rows_and_leaves_a_tombstone_for_each_place(
    world: World,
) -> None:
    blob = world.blob(42)
    world.place(blob, "eu")
    world.signature(blob)
    report(world, blob, blob)
    with world.only_removes(blob=blob):
        found = review_batch(policy=DEFAULT, limit=100)
    assert (found.blobs, found.bytes, found.tombstones) == (1, 42, 2)
    assert tombstones(world) == {(blob.digest, path_of(blob.digest), where) for where in ("local_us", "eu")}
    assert not world.rows("SELECT * FROM dredge_blob_candidate")
    assert world.rows("SELECT repository_id, blobs, bytes FROM dredge_collection") == [
        (world.repository_id, 1, 42)
    ]


def test_case_65_a_placeholder_that_lost_its_manifest_goes_and_frees_nothing(world: World) -> None:
    placeholder = world.blob(42, placement=None)
    report(world, placeholder)
    with world.only_removes(blob=placeholder):
        found = review_batch(policy=DEFAULT, limit=100)
    assert (found.blobs, found.bytes, found.tombstones) == (1, 0, 0)


def test_case_65_the_object_that_a_placeholder_kept_goes_with_it(world: World) -> None:
    placed = world.blob(42)
    placeholder = world.blob(42, digest=placed.digest, placement=None)
    image = world.manifest(blobs=[placeholder])
    report(world, placed)
    review_batch(policy=DEFAULT, limit=100)
    world.execute("DELETE FROM dredge_tombstone")  # dropped by the eraser: the placeholder's row refers to it
    world.execute("DELETE FROM manifestblob WHERE manifest_id = %s", (int(image),))
    report(world, placeholder)
    assert review_batch(policy=DEFAULT, limit=100).tombstones == 1
    assert tombstones(world) == {(placed.digest, path_of(placed.digest), "local_us")}
    assert not world.rows("SELECT * FROM dredge_push")


@pytest.mark.parametrize("checksum", ["sha256:../x", "", "abc", "x:y", "sha256:", "sha256:\u0301a"])
def test_a_blob_with_a_malformed_checksum_goes_without_a_tombstone(world: World, checksum: str) -> None:
    blob = world.blob(42)
    world.execute("UPDATE imagestorage SET content_checksum = %s WHERE id = %s", (checksum, int(blob)))
    report(world, blob)
    with world.only_removes(blob=blob):
        review_batch(policy=DEFAULT, limit=100)
    assert tombstones(world) == set()


def test_the_empty_layer_and_objects_of_no_known_path_get_no_tombstone(world: World) -> None:
    empty = world.blob(digest=EMPTY_LAYER)
    legacy = world.blob(cas_path=False)
    report(world, empty, legacy)
    with world.only_removes(blob=[empty, legacy]):
        review_batch(policy=DEFAULT, limit=100)
    assert tombstones(world) == {(None, f"sharedimages/{legacy.uuid}/layer", "local_us")}


def test_a_blob_whose_row_is_locked_by_a_push_stays_a_candidate(world: World) -> None:
    blob, other = world.blob(), world.blob()
    report(world, blob, other)
    world.execute("BEGIN")
    world.rows("SELECT FROM imagestorage WHERE id = %s FOR KEY SHARE", (int(blob),))
    try:
        review_batch(policy=DEFAULT, limit=100)
    finally:
        world.execute("COMMIT")
    assert world.rows("SELECT blob_id FROM dredge_blob_candidate") == [(blob,)]
    with world.only_removes(blob=blob):
        review_batch(policy=DEFAULT, limit=100)


def test_two_collections_that_drop_the_last_two_references_leave_a_candidate(world: World) -> None:
    """Both recorded it without looking, so whichever commits last, its candidate is judged after."""
    blob = world.blob()
    first, second = world.manifest(blobs=[blob]), world.manifest(blobs=[blob])
    report(world, blob)
    world.execute("DELETE FROM manifestblob WHERE manifest_id = %s", (int(first),))
    with world.unchanged():
        review_batch(policy=DEFAULT, limit=100)
    report(world, blob)
    world.execute("DELETE FROM manifestblob WHERE manifest_id = %s", (int(second),))
    with world.only_removes(blob=blob):
        review_batch(policy=DEFAULT, limit=100)


def test_a_rolled_back_review_leaves_everything(world: World, database: str) -> None:
    blob = world.blob()
    report(world, blob)
    with world.changes() as changes, pytest.raises(ZeroDivisionError), transaction():
        review_batch(policy=DEFAULT, limit=100)
        raise ZeroDivisionError
    assert not changes


def test_the_grace_period_is_written_into_the_tombstone(world: World) -> None:
    report(world, world.blob())
    review_batch(policy=replace(DEFAULT, erase_grace_ms=5000), limit=100)
    assert world.value("SELECT due_ms - created_ms FROM dredge_tombstone") == 5000


def test_batches_are_bounded_and_say_whether_there_is_more(world: World) -> None:
    blobs = [world.blob() for _ in range(5)]
    report(world, *blobs)
    with world.only_removes(blob=blobs):
        rounds = [review_batch(policy=DEFAULT, limit=3) for _ in range(3)]
    assert [found.has_more for found in rounds] == [True, True, False]
    assert not review_batch(policy=DEFAULT, limit=3).candidates
