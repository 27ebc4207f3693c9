"""`dredge demo`, the whole of it, in processes of its own: it verifies itself, and leaves nothing behind."""

from __future__ import annotations

import html
import json
import os
import re
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
# Ends a demonstration that hangs; on a busy machine one takes minutes.
LIMIT_S = 600


PICTURE = Path(__file__).parents[3] / "docs" / "figures" / "demo.svg"


def demo(directory: Path, *arguments: str) -> tuple[list[str], dict[str, Any]]:
    """Run it with `directory` for all of its files; the lines of its tables, and the last line."""
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
    *lines, last = done.stdout.splitlines()
    return lines, json.loads(last)


def lines_of_the_picture() -> list[str]:
    """What `python -m bench.picture` drew, between the command and the time that it took."""
    drawn: dict[int, list[str]] = {}
    text = r'<text [^>]*clip-path="url\(#terminal-\d+-line-(\d+)\)">(.*?)</text>'
    for number, part in re.findall(text, PICTURE.read_text()):
        drawn.setdefault(int(number), []).append(html.unescape(part).replace("\xa0", " ").strip())
    first, *lines, last = ("  ".join(parts) for _, parts in sorted(drawn.items()))
    assert first == "$ dredge demo" and re.fullmatch(r"done in \d+ s", last)
    return lines


def labels(lines: list[str], separator: str) -> set[str]:
    """The first column of tables; namespaces depend on the size, and a title is for people."""
    found = {re.split(separator, line)[0] for line in lines}
    return {label for label in found if not label.startswith(("sample", "Freed, "))}


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


def test_a_demonstration_whose_worker_is_killed_ends_verified_as_the_readme_shows_it(directory: Path) -> None:
    lines, said = demo(directory, "--kill")
    assert (said["live_missing"], said["garbage_left"], said["violations"]) == (0, 0, 0)
    assert said["manifests"] > 100 and said["objects"] > 100 and said["bytes_freed"] > 10_000
    assert said["tags"] >= said["repositories"] > 5
    assert labels(lines_of_the_picture(), r" {2,}") == labels(lines, r"\t"), "run `python -m bench.picture`"


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
