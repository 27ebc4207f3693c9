"""Workers of the code from before the latest change of our tables beside new ones, and instead of them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import Row, World
from tests.worker.broker.running import ROOT, worker
from worker.client import Client


def git(*arguments: str) -> bytes:
    """What git says in this checkout; nothing where it is none, or has no such history."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The sources from before the latest file was added to `model/migrations`."""
    changed = git("log", "-1", "--format=%H", "--diff-filter=A", "--", "model/migrations").decode().strip()
    archive = git("archive", f"{changed}^", "model", "worker", "celeryconfig.py") if changed else b""
    if not archive:
        pytest.skip("the sources of the previous version are not in this checkout's history")
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(tmp_path / "previous", filter="data")
    return tmp_path / "previous"


def garbage(world: World, name: str) -> tuple[int, list[Row]]:
    """A repository of a namespace without a window, with a deleted image of one blob."""
    made = world.repository(name, namespace=world.namespace(f"now-{name}", window_s=0))
    blob = world.blob()
    tag = world.tag("v1", manifest=world.manifest(made, blobs=[blob]), ended_ms=1000)
    return int(made), [tag, blob]


def gone(world: World, rows: list[Row]) -> bool:
    """Whether tag and blob have gone, and the blob's object has its tombstone."""
    tag, blob = rows
    found = world.rows(
        "SELECT (SELECT count(*) FROM tag WHERE id = %s), (SELECT count(*) FROM imagestorage WHERE id = %s),"
        " (SELECT count(*) FROM dredge_tombstone WHERE digest = %s)",
        (int(tag), int(blob), blob.digest),
    )
    return found == [(0, 0, 1)]


@pytest.mark.slow
def test_old_and_new_workers_collect_side_by_side_and_the_old_ones_after_a_roll_back(
    world: World, environment: dict[str, str], tmp_path: Path, client: Client, previous: Path
) -> None:
    kept = world.tag("bystander", manifest=world.manifest(blobs=[world.blob()]))
    loaded = subprocess.run(
        [sys.executable, "-c", "import worker; print(worker.__file__)"],
        cwd=previous,
        env={"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded.stdout.startswith(str(previous))
    before, beside, after, back = (garbage(world, name) for name in ("before", "beside", "after", "back"))

    def collect(repository: int, rows: list[Row], *running: object) -> None:
        client.collect(repository).get(timeout=PATIENCE_S)
        eventually(lambda: gone(world, rows), *running)  # type: ignore[arg-type]

    with worker(environment, tmp_path, "-n", "old@%h", cwd=previous) as old:
        collect(*before, old)
        with worker(environment, tmp_path) as new:
            collect(*beside, old, new)
            assert old.stop() == 0
            collect(*after, new)
            assert new.stop() == 0
    with worker(environment, tmp_path, "-n", "old@%h", cwd=previous) as old:
        collect(*back, old)
        assert old.stop() == 0
    assert world.rows("SELECT id FROM tag ORDER BY id") == [(int(kept),)]
    assert world.value("SELECT count(*) FROM imagestorage") == 1
    assert world.value("SELECT count(*) FROM dredge_due WHERE last_error IS NOT NULL") == 0
