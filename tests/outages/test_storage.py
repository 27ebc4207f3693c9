"""The storage directory is gone, is a file, cannot be written, is full, is slow."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.outages.conftest import OutageServers
from tests.support.patience import eventually
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
    outage_servers: OutageServers, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    images = {name: outage_servers.push(name) for name in ("kept", "away", "a_file", "read_only")}
    with outage_servers.system() as running:
        for broken in (away, a_file, read_only):
            with broken(storage):
                outage_servers.delete(broken.__name__)
                eventually(lambda: refused(outage_servers), running)
                with pytest.raises(StoreUnavailable):
                    outage_servers.push("refused", 5, 6)
                assert outage_servers.count("dredge_tombstone")
            outage_servers.gone(images[broken.__name__], running)
        outage_servers.settle(running)
        outage_servers.pull("kept")


def refused(outage_servers: OutageServers) -> int:
    """Has the eraser noted what is wrong, of the whole location or of an object that it tried?"""
    directory = "ILIKE '%%storage directory%%'"
    return outage_servers.count("dredge_storage", f"problem {directory}") + outage_servers.count(
        "dredge_tombstone", f"last_error {directory}"
    )


def test_a_full_disk_refuses_pushes_whole_and_is_emptied(
    outage_servers: OutageServers, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    if not mounted("-t", "tmpfs", "-o", "size=300k", "none", str(storage)):
        pytest.skip("nothing may be mounted here")
    try:
        pushed = []
        with pytest.raises(StoreUnavailable):
            for number in range(100):
                outage_servers.push(f"v{number}", number)
                pushed.append(f"v{number}")
        assert len(pushed) > 3
        assert list((storage / ".tmp").iterdir()) == [], "nothing half written stays"
        with outage_servers.system() as running:
            outage_servers.delete(*pushed[1:])
            outage_servers.settle(running)
            outage_servers.push("fits-again", 200)
            outage_servers.pull("fits-again")
            outage_servers.pull(pushed[0])
            outage_servers.settle(running)
    finally:
        subprocess.run(["umount", str(storage)], check=True)


def test_a_slow_store_delays_nobody_but_who_wants_its_digests(
    outage_servers: OutageServers, tmp_path: Path
) -> None:
    flag = tmp_path / "erasing"
    outage_servers.environment |= {"ERASE_FLAG": str(flag), "ERASE_S": "2"}
    outage_servers.push("slow", 1)
    second = outage_servers.push("second", 2)
    with outage_servers.system(app="tests.outages.apps", concurrency=2) as running:
        outage_servers.delete("slow")
        eventually(flag.exists, running)
        outage_servers.push("other", 3)
        outage_servers.delete("second")
        eventually(lambda: not outage_servers.count("manifest", "digest = %s", second.digest), running)
        outage_servers.settle(running)
        outage_servers.pull("other")
