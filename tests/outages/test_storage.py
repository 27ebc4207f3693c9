"""The storage directory is gone, is a file, cannot be written, is full, is slow."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.outages.conftest import Ground
from tests.worker.broker.running import Process, eventually
from worker.storage.base import StoreUnavailable

pytestmark = pytest.mark.slow


def mounted(*arguments: str) -> bool:
    return os.geteuid() == 0 and subprocess.run(["mount", *arguments], check=False).returncode == 0


@contextmanager
def away(storage: Path) -> Iterator[None]:
    """The disk went away: its mount point is not there."""
    storage.rename(storage.with_suffix(".away"))
    yield
    storage.with_suffix(".away").rename(storage)


@contextmanager
def a_file(storage: Path) -> Iterator[None]:
    with away(storage):
        storage.write_text("not a directory")
        yield
        storage.unlink()


@contextmanager
def read_only(storage: Path) -> Iterator[None]:
    if not mounted("--bind", str(storage), str(storage)):
        pytest.skip("nothing may be mounted here")
    try:
        assert mounted("-o", "remount,ro,bind", str(storage), str(storage))
        yield
    finally:
        subprocess.run(["umount", str(storage)], check=True)


def test_what_cannot_be_erased_waits_and_what_cannot_be_written_is_refused(
    ground: Ground, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    images = {name: ground.push(name) for name in ("kept", "away", "a_file", "read_only")}
    with ground.system() as running:
        for broken in (away, a_file, read_only):
            with broken(storage):
                ground.delete(broken.__name__)
                failing(ground, running)
                with pytest.raises(StoreUnavailable):
                    ground.push("refused", 5, 6)
                assert ground.count("dredge_tombstone", "last_error ILIKE '%%storage directory%%'")
            ground.gone(images[broken.__name__], running)
        ground.settle(running)
        ground.pull("kept")


def failing(ground: Ground, running: Process) -> None:
    """Wait until the eraser has tried and noted why it could not."""
    eventually(lambda: ground.count("dredge_tombstone", "tries > 0"), 20, running)


def test_a_full_disk_refuses_pushes_whole_and_is_emptied(ground: Ground, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    if not mounted("-t", "tmpfs", "-o", "size=300k", "none", str(storage)):
        pytest.skip("nothing may be mounted here")
    try:
        pushed = []
        with pytest.raises(StoreUnavailable):
            for number in range(100):
                ground.push(f"v{number}", number)
                pushed.append(f"v{number}")
        assert len(pushed) > 3
        assert list((storage / ".tmp").iterdir()) == [], "nothing half written stays"
        with ground.system() as running:
            ground.delete(*pushed[1:])
            ground.settle(running)
            ground.push("fits-again", 200)
            ground.pull("fits-again")
            ground.pull(pushed[0])
            ground.settle(running)
    finally:
        subprocess.run(["umount", str(storage)], check=True)


def test_a_slow_store_delays_nobody_but_who_wants_its_digests(ground: Ground, tmp_path: Path) -> None:
    flag = tmp_path / "erasing"
    ground.environment |= {"ERASE_FLAG": str(flag), "ERASE_S": "2"}
    ground.push("slow", 1)
    second = ground.push("second", 2)
    with ground.system(app="tests.outages.apps", concurrency=2) as running:
        ground.delete("slow")
        eventually(flag.exists, 20, running)
        ground.push("other", 3)
        ground.delete("second")
        eventually(lambda: not ground.count("manifest", "digest = %s", second.digest), 10, running)
        ground.settle(running)
        ground.pull("other")
