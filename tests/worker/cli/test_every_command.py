"""What every command prints: on terminals of 80 and 200 columns, in a pipe, and as JSON."""

from __future__ import annotations

import json
import os
import pty
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.pages import help_of
from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage, Said
from tests.worker.cli.walk import CALLS, GROUPS, KEY, ONLY_ERRORS, RUNNING, every_command, files, fill

COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Two cells of a table on a terminal: two blanks or more between them.
PADDED = re.compile(r"\S {2,}\S")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

Walk = Callable[..., dict[str, Said]]


@pytest.fixture
def walk(
    world: World,
    garbage: Garbage,
    dredge: Dredge,
    valkey: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Walk:
    """Call every command once, with further arguments."""
    fill(world, garbage)
    named = files(tmp_path)
    monkeypatch.setenv("DREDGE_WEBHOOK_KEY", KEY)
    monkeypatch.setenv("DREDGE_BREAKER_SHARE", "0")

    def walking(*more: str) -> dict[str, Said]:
        said = {}
        for name, call in CALLS.items():
            arguments = [argument.format(**named) for argument in call]
            said[name] = dredge(*arguments, *more, BROKER_URL=valkey)
        return said

    return walking


def codes(said: dict[str, Said]) -> dict[str, tuple[int, str]]:
    """The commands that failed; these find nothing to approve, or a problem that the registry has."""
    expected = {"approve", "check", "fsck"}
    return {name: (each.code, each.err) for name, each in said.items() if each.code and name not in expected}


def test_the_walk_calls_every_command() -> None:
    assert set(every_command()) == set(CALLS) | RUNNING | GROUPS | ONLY_ERRORS


def test_in_a_pipe_every_command_prints_whole_cells_without_colours(walk: Walk, world: World) -> None:
    said = walk()
    assert codes(said) == {}
    for name, each in said.items():
        for line in each.out.splitlines():
            assert "…" not in line, (name, line)
            assert not COLOUR.search(each.out + each.err), (name, line)
            assert not PADDED.search(line) and line == line.rstrip(" "), (name, line)
    assert DIGEST.search(said["tag list"].out)
    assert world.rows("SELECT count(*) FROM tag WHERE name = 'bystander'") == [(1,)]


@pytest.mark.parametrize("columns", [80, 200])
def test_on_a_terminal_no_row_of_a_table_is_wider_than_it(
    columns: int, walk: Walk, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        while part := os.read(leader, 65_536):
            shown.append(part)
            if b"\x04" in part:
                return

    reader = threading.Thread(target=read)
    reader.start()
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr("sys.stdout", terminal)
        said = walk()
        terminal.write("\x04")
    reader.join()
    os.close(leader)
    assert codes(said) == {}
    lines = [COLOUR.sub("", line).rstrip() for line in b"".join(shown).decode().split("\r\n")]
    assert len(lines) > 80
    assert [line for line in lines if len(line) > columns and PADDED.search(line)] == []
    assert [line for line in lines if DIGEST.search(line)] == []
    # Every time has its zone, also where it has lost its seconds.
    times = [line for line in lines if re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", line)]
    assert times
    assert [line for line in times if not re.search(r"\d\d:\d\d(Z|:\d\d UTC)", line)] == []


def test_with_json_every_command_prints_json_and_nothing_else(walk: Walk) -> None:
    said = walk("--json")
    assert codes(said) == {}
    for name, each in said.items():
        for line in [*each.out.splitlines(), *each.err.splitlines()]:
            assert isinstance(json.loads(line), dict), (name, line)
    assert {name for name, each in said.items() if not each.out} <= {
        "approve",
        "retention problems",
        "retention audit",
    }


@pytest.mark.parametrize("name", sorted(every_command()))
def test_a_help_page_fits_a_terminal_of_80_columns(name: str) -> None:
    page = help_of(tuple(name.split()), columns=80)
    assert [line for line in page.splitlines() if len(line) > 80] == []
