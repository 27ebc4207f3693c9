"""Signals, and a reader that leaves, end every command in one line or none, at any moment."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.world import World
from tests.worker.cli.conftest import Garbage

DREDGE = str(Path(sys.executable).parent / "dredge")
STOPPED = {
    "",
    "dredge: stopped",
    "dredge: stopped; what was committed stays, the rest waits for the next run",
}
# Where a signal arrives: in the first statement, in a finalizer of Python, or when the work has just ended.
MOMENTS = """
import os, signal, sys
from worker import cli, command, stopping
from worker.cli import history
class Dropping:
    def __del__(self):
        os.kill(os.getpid(), signal.{number})
        for _ in range(1000): pass
def read(**_):
    if "{moment}" == "now":
        os.kill(os.getpid(), signal.{number})
    elif "{moment}" == "dropped":
        Dropping()
    elif "{moment}" == "done":
        stopping.end_from_now_on = lambda: os.kill(os.getpid(), signal.{number})
    import time
    time.sleep({sleep})
    return []
history.read_history = read
command.main()
"""


def environment(world: World, store: Path) -> dict[str, str]:
    return {**os.environ, "DREDGE_DATABASE_URL": world.url, "DREDGE_STORAGE": str(store), "COLUMNS": "80"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("moment", ["now", "dropped"])
def test_a_signal_is_obeyed_once_also_where_python_drops_it(
    moment: str, number: signal.Signals, world: World, tmp_path: Path
) -> None:
    world.tag("bystander")
    story = MOMENTS.format(moment=moment, number=number.name, sleep=600)
    with world.changes() as changes:
        ended = subprocess.run(
            [sys.executable, "-c", story, "history", "--json"],
            env=environment(world, tmp_path),
            capture_output=True,
            text=True,
        )
    assert not changes
    assert ended.returncode == 128 + number
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert json.loads(line)["exit_code"] == 128 + number


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_when_the_work_has_ended_is_no_question_left_unanswered(
    number: signal.Signals, world: World, tmp_path: Path
) -> None:
    world.tag("bystander")
    story = MOMENTS.format(moment="done", number=number.name, sleep=0)
    with world.changes() as changes:
        ended = subprocess.run(
            [sys.executable, "-c", story, "history"],
            env=environment(world, tmp_path),
            capture_output=True,
            text=True,
        )
    assert not changes
    assert ended.returncode == 128 + number
    assert ended.stderr.strip() in STOPPED


def test_a_command_whose_caller_ignores_ctrl_c_goes_on(world: World, tmp_path: Path) -> None:
    world.tag("bystander")
    story = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    story += MOMENTS.format(moment="now", number="SIGINT", sleep=0)
    ended = subprocess.run(
        [sys.executable, "-c", story, "history"],
        env=environment(world, tmp_path),
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert world.rows("SELECT name FROM tag") == [("bystander",)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_is_one_line_or_none(
    seed: int, number: signal.Signals, world: World, garbage: Garbage, tmp_path: Path
) -> None:
    for age in range(5):
        garbage.image(f"dead{age}", dead_for_ms=90_000 + age)
    garbage.store.root.mkdir(exist_ok=True)
    chance = random.Random(f"{seed} {number}")
    with subprocess.Popen(
        [DREDGE, "collect", "--all"],
        env=environment(world, garbage.store.root),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        # The program has begun when it handles signals itself; before, Python alone decides.
        while running.poll() is None and not handles(running.pid):
            time.sleep(0.001)
        time.sleep(chance.random())
        running.send_signal(number)
        _, errors = running.communicate()
    assert errors.strip() in STOPPED, seed
    # While Python itself ends, it handles no signal; a shell then shows 128 + n, too.
    at_its_end = -number if not errors else 0
    assert running.returncode in (0, 128 + number, at_its_end), seed
    assert world.rows("SELECT count(*) FROM tag WHERE name = 'bystander'") == [(1,)]
    assert garbage.objects() >= 1


def handles(pid: int) -> bool:
    """Whether the program `dredge` handles SIGTERM, which Python alone does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return (
        bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
        and b"dredge" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


@pytest.mark.parametrize(
    "arguments", [["due"], ["plan", "--json"], ["plan", "acme/app"], ["check"], ["status"]]
)
def test_a_reader_that_leaves_ends_a_command_silently(
    arguments: list[str], world: World, garbage: Garbage, tmp_path: Path
) -> None:
    for age in range(3):
        garbage.image(f"dead{age}", dead_for_ms=90_000 + age)
    reading, writing = os.pipe()
    os.close(reading)
    with world.changes() as changes, os.fdopen(writing, "wb") as nobody:
        ended = subprocess.run(
            [DREDGE, *arguments],
            env=environment(world, garbage.store.root),
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert not changes
    assert (ended.returncode, ended.stderr) == (141, "")
