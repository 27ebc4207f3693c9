"""`dredge demo`, the whole of it, in processes of its own: it verifies itself, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.slow

DREDGE = str(Path(sys.executable).parent / "dredge")
LIMIT_S = 240


def demo(directory: Path, *arguments: str) -> dict[str, Any]:
    """Run it with `directory` for all of its files; its last line."""
    done = subprocess.run(
        [DREDGE, "demo", "--json", "--manifests", "500", *arguments],
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def environment(directory: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory)}


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A place for temporary files, readable for the server's own user; checked to be empty at the end."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(0o1777)
    yield place
    assert wait_until_alone(place) == []
    assert [path.name for path in place.iterdir() if path.name.startswith("dredge")] == []


def wait_until_alone(directory: Path) -> list[str]:
    """Processes that still use the directory a while later."""
    end = time.monotonic() + PATIENCE_S
    while (found := users_of(directory)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def users_of(directory: Path) -> list[str]:
    """Command lines of processes that were started in, for, or with temporary files in the directory."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            facts = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            facts += os.fsencode((process / "cwd").readlink())
        except OSError:
            continue
        if os.fsencode(directory) in facts:
            found.append(facts[:300].decode(errors="replace"))
    return found


def test_a_demonstration_whose_worker_is_killed_ends_verified(directory: Path) -> None:
    said = demo(directory, "--kill")
    assert (said["live_missing"], said["garbage_left"], said["violations"]) == (0, 0, 0)
    assert said["manifests"] > 100 and said["objects"] > 100 and said["bytes_freed"] > 10_000
    assert said["tags"] >= said["repositories"] > 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demonstration_that_is_interrupted_leaves_nothing(directory: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [DREDGE, "demo", "--manifests", "2000"],
        env=environment(directory),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        for line in process.stderr:
            if line.startswith("deleting tags"):
                break
        time.sleep(1)
        process.send_signal(number)
        process.stderr.read()
    assert process.returncode not in (0, None)
