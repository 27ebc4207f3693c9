"""Creating manifests: their references, labels, quota and protection, beside collections and other pushes."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from model import digest as digests
from model import oci
from model.db.clock import now_ms
from model.db.connection import connection, execute, fetch, fetch_one, transaction
from model.errors import BadManifest, NoSuchBlob, NoSuchManifest, NoSuchRepository, SchemaMismatch
from model.gc.collect import collect_batch
from model.manifest import Created, create_manifest, find_manifest, find_referrers
from model.policy import DEFAULT
from model.registry import delete_tag, retarget_tag
from tests.support.patience import PATIENCE_S
from tests.support.rows import Row
from tests.support.world import World


@pytest.fixture(autouse=True)
def _repository(world: World) -> int:
    return world.repository_id


@pytest.fixture
def now(world: World) -> int:
    return world.now_ms


def held(world: World, size: int = 100, repository: int | None = None) -> Row:
    blob = world.blob(size)
    world.uploaded(blob, repository=repository)
    return blob


def descriptor(of: Any, media_type: str = oci.OCI_CONFIG, size: int | None = None) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": of.digest, "size": of.size if size is None else size}


def image(config: Any, *layers: Any, **more: Any) -> bytes:
    fields = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": descriptor(config),
        "layers": [descriptor(layer, "application/vnd.oci.image.layer.v1.tar+gzip") for layer in layers],
    }
    return json.dumps({key: value for key, value in (fields | more).items() if value is not None}).encode()


def index(*children: bytes, **more: Any) -> bytes:
    entries = [
        {"mediaType": oci.OCI_MANIFEST, "digest": digests.of(child), "size": len(child)} for child in children
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": entries, **more}).encode()


def create(world: World, content: bytes, now: int, repository: int | None = None, **more: Any) -> Created:
    where = world.repository_id if repository is None else int(repository)
    return create_manifest(where, content, policy=DEFAULT, now_ms=now, **more)


def hidden_tags(manifest_id: int) -> list[int | None]:
    return [
        row.lifetime_end_ms
        for row in fetch(
            "SELECT lifetime_end_ms FROM tag WHERE manifest_id = %s AND hidden AND name LIKE '$temp-%%'"
            " ORDER BY lifetime_end_ms",
            (manifest_id,),
        )
    ]


def test_an_image_gets_its_row_its_blobs_its_labels_and_a_temporary_tag(world: World, now: int) -> None:
    config, layer = held(world, 10), held(world, 1000)
    content = image(config, layer, layer)
    with world.changes() as changes:
        made = create(world, content, now, labels={"a": "1", "b": "zwei"})
    (row,) = changes.added["manifest"].values()
    assert (row["digest"], row["manifest_bytes"]) == (digests.of(content), content.decode())
    assert (row["config_media_type"], row["layers_compressed_size"]) == (oci.OCI_CONFIG, 2000)
    assert (row["subject"], row["subject_backfilled"], row["artifact_type_backfilled"]) == (None, True, True)
    links = {link["blob_id"] for link in changes.added["manifestblob"].values()}
    assert links == {int(config), int(layer)}
    assert len(changes.added["manifestblob"]) == 2, "a digest listed twice is linked once"
    assert {label["key"]: label["value"] for label in changes.added["label"].values()} == {
        "a": "1",
        "b": "zwei",
    }
    assert len(changes.added["manifestlabel"]) == 2
    assert hidden_tags(made.manifest_id) == [now + DEFAULT.push_ttl_ms]
    assert not changes.removed
    assert not changes.changed
    found = find_manifest(world.repository_id, made.digest)
    assert found is not None
    assert (found.text.encode(), found.media_type) == (content, oci.OCI_MANIFEST)


def test_pushing_again_only_renews_the_protection(world: World, now: int) -> None:
    world.quota()
    content = image(held(world), held(world))
    first = create(world, content, now)
    with world.changes() as changes:
        second = create(world, content, now + 5)
    assert (second.manifest_id, first.new, second.new) == (first.manifest_id, True, False)
    assert set(changes.added) == {"tag"}
    assert not changes.changed
    assert hidden_tags(first.manifest_id) == [now + DEFAULT.push_ttl_ms, now + 5 + DEFAULT.push_ttl_ms]


def test_a_caller_that_tags_it_needs_no_temporary_tag(world: World, now: int) -> None:
    made = create(world, image(held(world)), now, protect=False)
    assert hidden_tags(made.manifest_id) == []


@pytest.mark.parametrize("why", ["unknown", "in another repository", "expired", "not placed yet"])
def test_a_manifest_whose_blob_is_not_in_the_repository_is_refused(world: World, now: int, why: str) -> None:
    blob = world.blob(placement=None if why == "not placed yet" else "local_us")
    if why == "in another repository":
        world.uploaded(blob, repository=world.repository())
    elif why != "unknown":
        world.uploaded(blob, expires_ms=now if why == "expired" else now + 1000)
    content = image(held(world), blob)
    with world.unchanged(), pytest.raises(NoSuchBlob, match=blob.digest):
        create(world, content, now)


def test_a_wrong_size_is_refused(world: World, now: int) -> None:
    content = image(held(world), layers=[descriptor(held(world), "x/y", size=99)])
    with world.unchanged(), pytest.raises(BadManifest, match="wrong size"):
        create(world, content, now)


def test_a_remote_layer_need_not_be_there(world: World, now: int) -> None:
    remote = descriptor(world.blob(), "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    made = create(world, image(held(world), layers=[remote | {"urls": ["https://example.com/x"]}]), now)
    assert len(fetch("SELECT id FROM manifestblob WHERE manifest_id = %s", (made.manifest_id,))) == 1


def test_a_remote_layer_that_was_pushed_is_linked_and_so_kept(world: World, now: int) -> None:
    pushed = held(world)
    remote = descriptor(pushed, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    made = create(world, image(held(world), layers=[remote | {"urls": ["https://example.com/x"]}]), now)
    linked = fetch("SELECT blob_id FROM manifestblob WHERE manifest_id = %s", (made.manifest_id,))
    assert int(pushed) in [row.blob_id for row in linked] and len(linked) == 2


def test_an_index_links_its_children(world: World, now: int) -> None:
    one, two = image(held(world)), image(held(world))
    made = [create(world, content, now).manifest_id for content in (one, two)]
    top = create(world, index(one, two, one), now)
    rows = fetch(
        "SELECT child_manifest_id AS id FROM manifestchild WHERE manifest_id = %s ORDER BY 1",
        (top.manifest_id,),
    )
    assert [row.id for row in rows] == made
    assert (
        fetch_one("SELECT layers_compressed_size AS s FROM manifest WHERE id = %s", (top.manifest_id,)).s
        is None
    )


def test_an_index_with_a_missing_child_is_refused_or_sparse(world: World, now: int) -> None:
    here, absent = image(held(world)), image(held(world))
    create(world, here, now)
    create(world, absent, now, repository=_other_with(world, absent))
    with world.unchanged(), pytest.raises(NoSuchManifest, match=digests.of(absent)):
        create(world, index(here, absent), now)
    sparse = create(world, index(here, absent), now, allow_missing_children=True)
    assert _children(sparse) == 1
    # The child arrives later, and the index is pushed again.
    execute("UPDATE uploadedblob SET repository_id = %s", (world.repository_id,))
    create(world, absent, now)
    assert create(world, index(here, absent), now).manifest_id == sparse.manifest_id
    assert _children(sparse) == 2


def _other_with(world: World, content: bytes) -> int:
    other = int(world.repository())
    for part in oci.parse(content).blobs:
        blob = fetch_one("SELECT id FROM imagestorage WHERE content_checksum = %s", (part,)).id
        world.uploaded(blob, repository=other)
    return other


def _children(made: Created) -> int:
    return len(fetch("SELECT id FROM manifestchild WHERE manifest_id = %s", (made.manifest_id,)))


def test_a_referrer_is_kept_for_good_by_one_tag(world: World, now: int) -> None:
    subject = image(held(world))
    target = create(world, subject, now)
    about = {"mediaType": oci.OCI_MANIFEST, "digest": target.digest, "size": len(subject)}
    content = image(held(world), subject=about, artifactType="application/spdx+json")
    made = create(world, content, now)
    assert made.subject == target.digest
    assert hidden_tags(made.manifest_id) == [None]
    create(world, content, now)
    create(world, content, now, protect=False)
    assert hidden_tags(made.manifest_id).count(None) == 1
    (found,) = find_referrers(world.repository_id, target.digest)
    assert (found.digest, found.artifact_type) == (made.digest, "application/spdx+json")


def test_an_artifact_without_a_type_has_its_configs(world: World, now: int) -> None:
    made = create(world, image(held(world)), now)
    found = find_manifest(world.repository_id, made.digest)
    assert found is not None
    assert found.artifact_type == oci.OCI_CONFIG


def test_quota_grows_by_what_is_new_to_each_scope(world: World, now: int) -> None:
    other = world.repository()
    shared, mine = held(world, 1000), held(world, 10)
    world.manifest(other, blobs=[shared])
    world.quota()
    world.quota(other)
    before = _quota()
    create(world, image(mine, shared, shared), now)
    create(world, image(mine, shared), now)
    grown = {key: _quota()[key] - before[key] for key in before}
    assert grown == {
        ("repository", world.repository_id): 1010,
        ("repository", int(other)): 0,
        ("namespace", world.namespace_id): 10,
    }


def _quota() -> dict[tuple[str, int], int]:
    rows = fetch(
        "SELECT 'repository' AS kind, repository_id AS id, size_bytes FROM quotarepositorysize UNION ALL"
        " SELECT 'namespace', namespace_user_id, size_bytes FROM quotanamespacesize"
    )
    return {(row.kind, row.id): row.size_bytes for row in rows}


def test_pushes_of_one_new_blob_at_once_count_it_once(world: World, now: int) -> None:
    world.quota()
    layer = held(world, 1000)
    contents = [image(held(world, 1), layer, annotations={"n": str(n)}) for n in range(6)]
    contents += contents[:2]
    gate = threading.Barrier(len(contents))

    def push(content: bytes) -> int:
        gate.wait()
        with connection():
            return create(world, content, now).manifest_id

    with ThreadPoolExecutor(len(contents)) as pool:
        made = list(pool.map(push, contents))
    assert len(set(made)) == 6
    assert set(_quota().values()) == {1006}


def create_beside_collection(world: World, content: bytes, now: int, *, doomed: int) -> Created:
    """Push while another transaction locks the doomed manifest, and then deletes it."""
    locked = threading.Event()

    def push() -> Created:
        locked.wait()
        with connection():
            return create(world, content, now)

    with ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(push)
        with transaction():
            execute("SELECT id FROM manifest WHERE id = %s FOR UPDATE", (doomed,))
            locked.set()
            with pytest.raises(TimeoutError):
                pushing.result(0.3)
            for table in ("tag", "manifestblob"):
                execute(f"DELETE FROM {table} WHERE manifest_id = %s", (doomed,))
            execute("DELETE FROM manifest WHERE id = %s", (doomed,))
        return pushing.result(PATIENCE_S)


def test_a_push_of_a_manifest_that_is_being_collected_makes_it_again(world: World, now: int) -> None:
    config = held(world)
    content = image(config)
    old = create(world, content, now)
    made = create_beside_collection(world, content, now, doomed=old.manifest_id)
    assert made.new
    assert made.manifest_id != old.manifest_id
    assert len(fetch("SELECT id FROM manifestblob WHERE manifest_id = %s", (made.manifest_id,))) == 1
    assert hidden_tags(made.manifest_id) == [now + DEFAULT.push_ttl_ms]


def test_an_index_on_a_child_that_is_being_collected_is_told_so(world: World, now: int) -> None:
    child = image(held(world))
    old = create(world, child, now, protect=False)
    with pytest.raises(NoSuchManifest):
        create_beside_collection(world, index(child), now, doomed=old.manifest_id)


def test_a_repository_marked_for_deletion_takes_no_manifest(world: World, now: int) -> None:
    gone = world.repository()
    content = image(held(world, repository=gone))
    world.mark_deleted(gone)
    with world.unchanged(), pytest.raises(NoSuchRepository):
        create(world, content, now, repository=gone)


def test_a_database_without_the_media_type_is_named(world: World, now: int) -> None:
    content = image(held(world))
    execute("DELETE FROM mediatype WHERE name = %s", (oci.OCI_MANIFEST,))
    with world.unchanged(), pytest.raises(SchemaMismatch, match="dredge init"):
        create(world, content, now)


def test_an_index_that_is_pushed_again_while_its_tag_is_deleted_finds_its_children(world: World) -> None:
    hasty = world.repository("hasty", namespace=world.namespace("hasty", window_s=0))
    child = image(held(world, repository=hasty))
    moment = now_ms()
    create(world, child, repository=hasty, now=moment - 2000)
    create(world, index(child), repository=hasty, now=moment - 2000, protect=False)
    retarget_tag(hasty.id, "v1", digests.of(index(child)))
    create(world, child, repository=hasty, now=now_ms() + 1)
    bystander = world.tag("bystander")
    delete_tag(hasty.id, "v1")
    time.sleep(0.01)
    collect_batch(hasty.id, policy=DEFAULT, limit=10)
    assert find_manifest(hasty.id, digests.of(index(child))) is None
    create(world, index(child), repository=hasty, now=now_ms())
    assert find_manifest(hasty.id, digests.of(index(child)))
    assert fetch("SELECT FROM tag WHERE id = %s", (bystander.id,))
