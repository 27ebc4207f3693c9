"""OCI image layouts in and out: every byte verified, and a bad one leaves nothing behind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model import digest as digests
from model import oci, registry
from model.db.connection import execute, fetch
from model.errors import BadDigest, NoSuchManifest, RegistryError
from model.manifest import find_manifest
from model.names import parse_repository
from model.policy import DEFAULT
from tests.support.layouts import (
    blob,
    bring,
    change_entry,
    change_index,
    index_of,
    manifest_of,
    name_entry,
    plain_layout,
    replace_manifest,
    rich_layout,
    take,
)
from tests.support.world import World
from worker.local.images import LayoutBuilder
from worker.storage.base import NoSuchObject, Stores
from worker.transfer.layout import BadLayout, read_layout, tag_of
from worker.transfer.layout_export import export_layout
from worker.transfer.layout_import import import_layout

REPOSITORY = parse_repository("acme/shop")
DAY_MS = 86_400_000


def blobs(root: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (root / "blobs" / "sha256").iterdir()}


def test_a_round_trip_is_identical_to_the_byte(world: World, stores: Stores, tmp_path: Path) -> None:
    layout = rich_layout(tmp_path / "layout")
    done = bring(stores, layout)
    assert (done.tags, done.manifests, done.new_manifests, done.untagged) == (("multi", "single"), 8, 8, 0)
    take(stores, "multi", tmp_path / "out")
    second = take(stores, "single", tmp_path / "out")
    assert (second.manifests, second.referrers, second.missing) == (1, 0, 0)
    assert blobs(tmp_path / "out") == blobs(layout)
    original = {
        (entry["digest"], json.dumps(entry.get("annotations"))) for entry in index_of(layout)["manifests"]
    }
    written = index_of(tmp_path / "out")["manifests"]
    assert {(entry["digest"], json.dumps(entry.get("annotations"))) for entry in written} == original
    # What was written is a layout again, and gives the same registry.
    assert bring(stores, tmp_path / "out", "acme/again").manifests == 8
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")]


def test_what_an_import_leaves_is_complete_and_holds_nothing_longer(
    world: World, stores: Stores, tmp_path: Path
) -> None:
    bring(stores, rich_layout(tmp_path / "layout"))
    counted = fetch(
        "SELECT (SELECT count(*) FROM uploadedblob) AS holds,"
        " (SELECT count(*) FROM manifestchild) AS children,"
        " (SELECT count(*) FROM dredge_push) AS loading,"
        " (SELECT count(*) FROM tag WHERE hidden AND lifetime_end_ms IS NULL) AS referrers,"
        " (SELECT count(*) FROM tag WHERE NOT hidden) AS tags,"
        " (SELECT count(*) FROM manifestlabel) AS labels,"
        " (SELECT count(DISTINCT content_checksum) FROM imagestorage) AS blobs"
    )[0]
    assert (counted.holds, counted.children, counted.loading, counted.referrers) == (0, 2, 0, 4)
    assert (counted.tags, counted.labels) == (2, 4)
    assert len(list(stores["local_us"].list("sha256"))) == counted.blobs


def test_importing_again_stores_nothing_twice(world: World, stores: Stores, tmp_path: Path) -> None:
    layout = rich_layout(tmp_path / "layout")
    bring(stores, layout)
    with world.changes() as changes:
        assert bring(stores, layout).new_manifests == 0
    assert {name for name in changes.added if not name.startswith("dredge_")} == {"tag"}
    assert all(row["hidden"] for row in changes.added["tag"].values()), "no visible tag moved"


@pytest.mark.parametrize(
    ("label", "lifetime_ms"),
    [("2d", 2 * DAY_MS), ("1s", DAY_MS // 24), ("900w", 728 * DAY_MS), ("soon", None), ("0d", None)],
)
def test_an_imported_tag_ends_when_its_label_says_as_a_pushed_one_does(
    world: World, stores: Stores, tmp_path: Path, label: str, lifetime_ms: int | None
) -> None:
    layout = plain_layout(tmp_path / "layout", labels={"quay.expires-after": label})
    bring(stores, layout)
    tag = registry.get_tag("acme/shop", "v1")
    assert tag is not None
    if lifetime_ms is None:
        assert tag.end_ms is None
    else:
        # The end counts from the begin of the transaction, a moment before the tag's.
        assert tag.end_ms is not None
        assert round(tag.end_ms - tag.start_ms, -6) == round(lifetime_ms, -6)
    with world.changes() as changes:
        bring(stores, layout)
    assert "tag" not in changes.added | changes.changed | changes.removed, "it ends no later"


def test_a_tag_moves_to_the_new_image(world: World, stores: Stores, tmp_path: Path) -> None:
    bring(stores, plain_layout(tmp_path / "one"))
    bring(stores, plain_layout(tmp_path / "two", architecture="arm64"))
    found = registry.get_tag("acme/shop", "v1")
    assert found is not None
    assert found.digest == index_of(tmp_path / "two")["manifests"][0]["digest"]


def test_manifests_without_a_media_type_are_known_by_their_shape(
    world: World, stores: Stores, tmp_path: Path
) -> None:
    layout = plain_layout(tmp_path / "layout", mediaType=None)
    assert "mediaType" not in manifest_of(layout)
    bring(stores, layout)
    made = find_manifest(registry.get_repository("acme/shop").id, index_of(layout)["manifests"][0]["digest"])
    assert made is not None
    assert made.media_type == oci.OCI_MANIFEST
    take(stores, "v1", tmp_path / "out")
    assert blobs(tmp_path / "out") == blobs(layout)


def test_docker_manifests_and_nested_indexes_go_in(world: World, stores: Stores, tmp_path: Path) -> None:
    builder = LayoutBuilder(tmp_path / "layout")
    image = builder.image([builder.layer([("a", b"a")], compression="none")], mediaType=oci.DOCKER_MANIFEST)
    inner = builder.index([image], mediaType=oci.DOCKER_LIST) | {"mediaType": oci.DOCKER_LIST}
    builder.add(builder.index([inner]), "nested")
    done = bring(stores, builder.finish())
    assert done.manifests == 3
    take(stores, "nested", tmp_path / "out")
    assert blobs(tmp_path / "out") == blobs(tmp_path / "layout")


def test_entries_that_are_no_manifests_are_skipped(world: World, stores: Stores, tmp_path: Path) -> None:
    layout = plain_layout(tmp_path / "layout")
    cache = {"mediaType": "application/vnd.buildkit.cacheconfig.v0", "digest": digests.of(b""), "size": 0}
    change_index(layout, manifests=[*index_of(layout)["manifests"], cache])
    done = bring(stores, layout)
    assert (done.manifests, done.skipped) == (1, 1)


def test_a_sparse_index_goes_in_when_asked_for(world: World, stores: Stores, tmp_path: Path) -> None:
    layout = rich_layout(tmp_path / "layout")
    signed, unsigned = index_of(layout)["manifests"][1], index_of(layout)["manifests"][0]
    children = [
        child for child in _multi(layout)["manifests"] if child["platform"]["architecture"] == "arm64"
    ]
    blob(layout, children[0]["digest"]).unlink()
    kept = [entry for entry in index_of(layout)["manifests"] if entry not in (signed, unsigned)]
    change_index(layout, manifests=kept)
    with pytest.raises(BadLayout, match="No such file"):
        read_layout(layout)
    import_layout(stores, read_layout(layout, sparse=True), REPOSITORY, policy=DEFAULT)
    assert take(stores, "multi", tmp_path / "out").missing == 1


def _multi(layout: Path) -> dict[str, Any]:
    position = next(
        n
        for n, entry in enumerate(index_of(layout)["manifests"])
        if entry.get("annotations", {}).values() and "multi" in entry["annotations"].values()
    )
    return manifest_of(layout, position)


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        ("v1", "v1"),
        ("docker.io/library/x:1.0", "1.0"),
        ("localhost:5000/x", "latest"),
        ("localhost:5000/x:2", "2"),
        ("library/x", "latest"),
        ("x:3@sha256:" + "0" * 64, "3"),
        ("x@sha256:" + "0" * 64, None),
        ("", None),
    ],
)
def test_a_full_reference_gives_its_tag(written: str, tag: str | None) -> None:
    assert tag_of({"org.opencontainers.image.ref.name": written}) == tag


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def _make_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _link_to(file: Path, elsewhere: Path) -> None:
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def _layer(root: Path) -> Path:
    return blob(root, manifest_of(root)["layers"][0]["digest"])


def _loop(root: Path) -> None:
    """An index that lists itself can only have a wrong digest."""
    fields = {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": []}
    digest = digests.of(b"wanted")
    entry = {"mediaType": oci.OCI_INDEX, "digest": digest, "size": 300}
    blob(root, digest).write_text(json.dumps(fields | {"manifests": [entry]}))
    change_index(root, manifests=[entry])


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no oci-layout": (lambda r: (r / "oci-layout").unlink(), "No such file"),
    "oci-layout is not JSON": (lambda r: (r / "oci-layout").write_text("{"), "not JSON"),
    "another version": (lambda r: (r / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}'), "version"),
    "no index": (lambda r: (r / "index.json").unlink(), "No such file"),
    "index is not JSON": (lambda r: (r / "index.json").write_text("not json"), "not JSON"),
    "index is a list": (lambda r: (r / "index.json").write_text("[]"), "not an object"),
    "index has no manifests": (lambda r: change_index(r, manifests=None), "list"),
    "index is a directory": (lambda r: _make_directory(r / "index.json"), "regular file"),
    "no blobs": (lambda r: (r / "blobs").rename(r / "stuff"), "no directory"),
    "manifest missing": (lambda r: blob(r, index_of(r)["manifests"][0]["digest"]).unlink(), "No such file"),
    "manifest changed": (lambda r: _flip(blob(r, index_of(r)["manifests"][0]["digest"])), "digest"),
    "manifest of another size": (lambda r: change_entry(r, size=7), "another size"),
    "manifest not JSON": (lambda r: replace_manifest(r, b"hello"), "not JSON"),
    "manifest too large": (lambda r: replace_manifest(r, b" " * ((4 << 20) + 1)), "larger than 4 MiB"),
    "manifest of another type": (lambda r: change_entry(r, mediaType=oci.OCI_INDEX), "announced"),
    "schema 1": (lambda r: replace_manifest(r, {"schemaVersion": 1, "fsLayers": []}), "schema version"),
    "layer missing": (lambda r: _layer(r).unlink(), "No such file"),
    "layer truncated": (lambda r: _cut(_layer(r)), "fewer bytes"),
    "layer too long": (lambda r: _layer(r).write_bytes(_layer(r).read_bytes() + b"x"), "more bytes"),
    "layer changed": (lambda r: _flip(_layer(r)), "digest"),
    "layer is a link out": (lambda r: _link_to(_layer(r), r.parent / "secret"), "regular file"),
    "layer is a pipe": (lambda r: _make_pipe(_layer(r)), "regular file"),
    "digest with a path": (lambda r: change_entry(r, digest="sha256:../../../etc/passwd"), "digest"),
    "digest of an unknown kind": (lambda r: change_entry(r, digest="md5:" + "0" * 32), "digest"),
    "digest is a number": (lambda r: change_entry(r, digest=5), "digest"),
    "size is text": (lambda r: change_entry(r, size="7"), "size"),
    "a tag that cannot be one": (lambda r: name_entry(r, "-not a tag-"), "cannot be a tag"),
    "a name that is no text": (lambda r: name_entry(r, ["x"]), "text"),  # type: ignore[arg-type]
    "one name twice": (
        lambda r: change_index(
            r,
            manifests=[
                *index_of(r)["manifests"],
                index_of(r)["manifests"][0] | LayoutBuilder(r).image([], architecture="s390x"),
            ],
        ),
        "two images are named",
    ),
    "an index that lists itself": (_loop, "digest"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_layout_is_one_clear_line_and_changes_nothing(
    world: World, stores: Stores, tmp_path: Path, how: str
) -> None:
    layout = plain_layout(tmp_path / "layout")
    mischief, said = BROKEN[how]
    mischief(layout)
    with world.changes() as changes, pytest.raises(BadLayout, match=said) as caught:
        bring(stores, layout)
    assert "\n" not in str(caught.value)
    assert not changes
    assert list(stores["local_us"].list()) == []


def test_what_changes_between_verification_and_push_is_noticed(
    world: World, stores: Stores, tmp_path: Path
) -> None:
    layout = plain_layout(tmp_path / "layout")
    verified = read_layout(layout)
    _flip(_layer(layout))
    with pytest.raises(BadDigest):
        import_layout(stores, verified, REPOSITORY, policy=DEFAULT)
    assert fetch("SELECT id FROM manifest") == []
    assert fetch("SELECT id FROM uploadedblob") == [], "what was held is left to the review"
    assert (
        fetch("SELECT id FROM imagestorage WHERE id NOT IN (SELECT blob_id FROM dredge_blob_candidate)") == []
    )


@pytest.mark.parametrize("foreign", ["file", "not empty", "half a layout", "another version"])
def test_an_export_overwrites_nothing_foreign(
    world: World, stores: Stores, tmp_path: Path, foreign: str
) -> None:
    bring(stores, plain_layout(tmp_path / "layout"))
    target = tmp_path / "target"
    if foreign == "file":
        target.write_text("precious")
    else:
        target.mkdir()
        (target / {"half a layout": "oci-layout"}.get(foreign, "precious")).write_text("precious")
    if foreign == "another version":
        (target / "oci-layout").write_text('{"imageLayoutVersion": "9"}')
        (target / "index.json").write_text('{"manifests": []}')
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    with pytest.raises(BadLayout):
        take(stores, "v1", target)
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before


def test_exporting_again_heals_a_damaged_layout(world: World, stores: Stores, tmp_path: Path) -> None:
    bring(stores, layout := plain_layout(tmp_path / "layout"))
    take(stores, "v1", tmp_path / "out")
    index = (tmp_path / "out" / "index.json").read_bytes()
    _flip(_layer(tmp_path / "out"))
    take(stores, "v1", tmp_path / "out")
    assert blobs(tmp_path / "out") == blobs(layout)
    assert (tmp_path / "out" / "index.json").read_bytes() == index


def test_an_export_never_writes_bytes_that_are_wrong(world: World, stores: Stores, tmp_path: Path) -> None:
    bring(stores, layout := plain_layout(tmp_path / "layout"))
    name = _layer(layout).name
    path = f"sha256/{name[:2]}/{name}"
    stores["local_us"].write(path, [b"rotten"])
    with pytest.raises(BadDigest):
        take(stores, "v1", tmp_path / "out")
    assert not (tmp_path / "out" / "index.json").exists()
    stores["local_us"].erase([path])
    with pytest.raises(NoSuchObject, match="fsck"):
        take(stores, "v1", tmp_path / "out")
    bring(stores, layout)
    take(stores, "v1", tmp_path / "out")
    assert blobs(tmp_path / "out") == blobs(layout), "a stopped export can be finished"


def test_an_export_of_nothing_says_so(world: World, stores: Stores, tmp_path: Path) -> None:
    with pytest.raises(NoSuchManifest):
        export_layout(stores, world.repository_id, digests.of(b"x"), tmp_path / "out")


def test_a_manifest_that_rotted_in_the_database_is_not_exported(
    world: World, stores: Stores, tmp_path: Path
) -> None:
    bring(stores, plain_layout(tmp_path / "layout"))
    execute("UPDATE manifest SET manifest_bytes = manifest_bytes || ' '")
    with pytest.raises(RegistryError, match="does not have its digest"):
        take(stores, "v1", tmp_path / "out")
