"""What goes wrong is said in one line each, with an exit code, and never as a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.world import World
from tests.worker.cli.conftest import Dredge
from worker.cli import COMMANDS

AWAY = "postgresql://nobody:secret@127.0.0.1:1/none"
NEED_A_DATABASE = (
    ["scan"],
    ["plan"],
    ["collect", "--all"],
    ["status"],
    ["history"],
    ["explain", "acme/app@sha256:" + "0" * 64],
)


def only_lines_of_dredge(err: str) -> bool:
    return bool(err) and all(line.startswith("dredge: ") for line in err.splitlines())


def test_all_mistakes_of_the_configuration_are_told_at_once(world: World, dredge: Dredge) -> None:
    world.tag("bystander")
    wrong = {
        "SCAN_SLICE": "many",
        "REFERRERS": "maybe",
        "ERASE_BATCH": "0",
        "TYPO": "1",
        "STORAGE": "ftp://x",
    }
    with world.changes() as changes:
        said = dredge("scan", **wrong)
    assert not changes and said.code == 2 and said.out == ""
    assert len(said.err.splitlines()) == len(wrong) and only_lines_of_dredge(said.err)
    for name in wrong:
        assert f"DREDGE_{name}: " in said.err


@pytest.mark.parametrize("arguments", NEED_A_DATABASE, ids=lambda arguments: arguments[0])
def test_without_a_database_a_command_says_what_to_set(dredge: Dredge, arguments: list[str]) -> None:
    said = dredge(*arguments, DATABASE_URL="")
    assert said.code == 1 and said.out == "" and len(said.err.splitlines()) == 1
    assert said.err.startswith("dredge: DREDGE_DATABASE_URL is not set")


@pytest.mark.parametrize("arguments", NEED_A_DATABASE, ids=lambda arguments: arguments[0])
def test_a_database_that_is_away_is_one_line_without_the_password(
    dredge: Dredge, arguments: list[str]
) -> None:
    said = dredge(*arguments, DATABASE_URL=AWAY)
    assert said.code == 1 and said.out == "" and only_lines_of_dredge(said.err)
    assert "did not answer" in said.err and "secret" not in said.err


def test_a_database_without_tables_is_one_line(dredge: Dredge, empty_database: str) -> None:
    said = dredge("scan", DATABASE_URL=empty_database)
    assert said.code == 1 and "Traceback" not in said.err and len(said.err.splitlines()) == 1
    assert "dredge init" in said.err


def test_collect_says_that_it_needs_storage(world: World, dredge: Dredge) -> None:
    world.tag("old", ended_ms=1)
    with world.unchanged():
        said = dredge("collect", "--all", STORAGE="")
    assert said.code == 1 and said.err.startswith("dredge: DREDGE_STORAGE is not set")


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["scan", "--no-such-option"],
        ["scan", "--limit", "0"],
        ["history", "--limit", "many"],
        ["explain"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_exit_code_two_with_usage(dredge: Dredge, arguments: list[str]) -> None:
    said = dredge(*arguments)
    assert said.code == 2 and said.out == "" and "Usage: dredge" in said.err


def test_the_help_lists_every_command(dredge: Dredge) -> None:
    said = dredge("--help")
    assert said.code == 0 and all(f"  {name} " in said.out for name in COMMANDS)


def test_the_installed_command_ends_in_one_line_too() -> None:
    """In a process of its own: nothing is printed behind the interpreter's back."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "dredge"), "scan"],
        env={"PATH": os.environ["PATH"], "DREDGE_DATABASE_URL": AWAY},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("dredge: ")
