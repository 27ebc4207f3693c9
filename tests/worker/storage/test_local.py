"""What only a directory can do to a store: disks that fill, vanish or belong to somebody else."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from model.errors import BadInput
from worker.storage.base import NoSuchLocation, StoreUnavailable
from worker.storage.local import LocalStore
from worker.storage.open import open_store, open_stores, prepare_stores


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "blobs", fsync=False)


def fail_with(number: int) -> Any:
    def fail(*_args: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_url_names_its_store(tmp_path: Path) -> None:
    locations = {"a": str(tmp_path), "b": f"file://{tmp_path}/with%20space?fsync=off"}
    stores = open_stores(locations, upload="b")
    assert (list(stores), stores.upload, "c" in stores) == (["a", "b"], "b", False)
    assert not (tmp_path / "with space").exists()
    prepare_stores(locations)
    assert (tmp_path / "with space").is_dir()
    with pytest.raises(NoSuchLocation, match="DREDGE_STORAGE"):
        stores["c"]
    with pytest.raises(BadInput):
        open_store("ftp://host/x")
    with pytest.raises(BadInput):
        open_store("s3://bucket?end_point=http://typo")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EIO, "error"),
    ],
)
def test_a_failing_disk_says_what_to_do_and_keeps_what_was_there(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    store.write("a/b", [b"old"])
    for method in ("replace", "mkdir", "open"):
        with monkeypatch.context() as broken:
            broken.setattr(Path, method, fail_with(number))
            with pytest.raises(StoreUnavailable, match=advice or None) as caught:
                store.write("a/b", [b"new"])
        assert caught.value.retryable
        assert str(store.root) in str(caught.value)
    assert b"".join(store.read("a/b")) == b"old"
    assert list((store.root / ".tmp").iterdir()) == []


def test_a_full_disk_in_the_middle_of_a_write_leaves_nothing(store: LocalStore) -> None:
    """A real one: /dev/full answers each write with ENOSPC."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    store.write("a/b", [b"old"])
    real = Path.open

    def full(path: Path, mode: str = "r", **more: Any) -> Any:
        return real(Path("/dev/full"), "wb", **more) if mode == "xb" else real(path, mode, **more)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(StoreUnavailable, match="disk is full"):
            store.write("a/b", [b"new"])
    assert b"".join(store.read("a/b")) == b"old"


def test_erase_goes_on_after_an_object_that_cannot_be_erased(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1", "a/2", "a/3"):
        store.write(name, [b"x"])
    real = os.unlink

    def unlink(path: str, *args: Any, **more: Any) -> None:
        if path.endswith("a/2"):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(path, *args, **more)

    monkeypatch.setattr(os, "unlink", unlink)
    results = store.erase(["a/1", "a/2", "a/3"])
    assert [result.existed for result in results] == [True, None, True]
    assert "permission" in str(results[1].error)
    assert [found.path for found in store.list()] == ["a/2"]


def test_a_disk_that_went_away_is_not_an_empty_store(store: LocalStore) -> None:
    store.write("a/b", [b"x"])
    store.root.rename(store.root.parent / "unmounted")
    assert [(result.existed, bool(result.error)) for result in store.erase(["a/b"])] == [(None, True)]
    for call in (lambda: list(store.list()), lambda: store.size("a/b"), store.root.rmdir):
        with pytest.raises((StoreUnavailable, FileNotFoundError)):
            call()


def test_an_unreadable_folder_is_an_error_and_not_the_end_of_the_listing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1", "b/1", "c/1"):
        store.write(name, [b"x"])
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).rstrip("/").endswith("/b"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    seen: list[str] = []
    with pytest.raises(StoreUnavailable):
        seen.extend(found.path for found in store.list())
    assert "c/1" not in seen


def test_empty_folders_go_but_not_the_first_level(store: LocalStore) -> None:
    store.write("sharedimages/0f0f-0f0f/layer", [b"x"])
    store.write("sha256/ab/abc", [b"x"])
    store.write("sha256/ab/abd", [b"bystander"])
    store.erase(["sharedimages/0f0f-0f0f/layer", "sha256/ab/abc"])
    folders = {str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_dir()}
    assert folders == {".tmp", "sharedimages", "sha256", "sha256/ab"}


def test_writes_win_against_the_removal_of_their_folder(store: LocalStore) -> None:
    """An erase removes the folder just when the writer has made it."""

    def write(number: int) -> None:
        for turn in range(150):
            store.write(f"sha256/ab/{number}-{turn}", [b"x"])
            assert store.erase([f"sha256/ab/{number}-{turn}"])[0].existed

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert list(store.list()) == []


def test_what_crashed_writes_left_is_removed_after_a_day(store: LocalStore) -> None:
    old, young = store.root / ".tmp" / "old", store.root / ".tmp" / "young"
    old.parent.mkdir()
    for file in (old, young):
        file.write_bytes(b"x")
    day_ago = time.time() - 90_000
    os.utime(old, (day_ago, day_ago))
    store.write("a/b", [b"x"])
    assert (old.exists(), young.exists()) == (False, True)
    assert [found.path for found in store.list()] == ["a/b"], "they are not objects"


def test_a_listing_survives_erases_on_its_way(store: LocalStore) -> None:
    wanted = [f"sha256/{n:02x}/{n:02x}" for n in range(20)]
    for path in wanted:
        store.write(path, [b"x"])

    def walk() -> Iterator[str]:
        for number, found in enumerate(store.list()):
            if number == 5:
                store.erase(wanted[10:15])
            yield found.path

    assert list(walk()) == [*wanted[:10], *wanted[15:]]


def test_links_and_devices_are_no_objects(store: LocalStore, tmp_path: Path) -> None:
    store.write("a/b", [b"x"])
    (store.root / "a" / "link").symlink_to(tmp_path)
    os.mkfifo(store.root / "a" / "pipe")
    assert [found.path for found in store.list()] == ["a/b"]
    assert store.size("a/pipe") is None
    assert store.size("a") is None


def test_check_asks_for_what_is_missing(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.check()
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == []
    monkeypatch.setattr(os, "unlink", fail_with(errno.EPERM))
    with pytest.raises(StoreUnavailable, match="permission"):
        store.check()


def test_durable_writes_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(handle)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    LocalStore(tmp_path, fsync=True).write("sha256/ab/abc", [b"x"])
    assert len(synced) == 4, "the file and each folder up to the root"
