"""An error of any command is one line, or with --json one JSON object, with the same exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage, Said
from tests.worker.cli.walk import CALLS, KEY, files

AWAY = "postgresql://nobody:secret@127.0.0.1:1/none"
BROKER_AWAY = "redis://:secret@127.0.0.1:1/0"
# They read no setting, or no database.
NO_SETTINGS = {"quay-storage", "retention check", "web token"}
NAMES = sorted(CALLS)


@pytest.fixture
def call(dredge: Dredge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dredge:
    """`call("plan", "--json")` calls a command as the walk does, with further arguments and settings."""
    named = files(tmp_path)
    monkeypatch.setenv("DREDGE_WEBHOOK_KEY", KEY)

    def calling(name: str, *more: str, **settings: str) -> Said:
        return dredge(*[argument.format(**named) for argument in CALLS[name]], *more, **settings)

    return calling


def error_of(said: Said) -> str:
    """The error of the only object on standard error; nothing is on standard output."""
    assert said.out == ""
    (line,) = said.err.splitlines()
    told = json.loads(line)
    assert told["exit_code"] == said.code
    assert "secret" not in line
    return str(told["error"])


@pytest.mark.parametrize("name", NAMES)
def test_an_option_that_is_not_there(name: str, call: Dredge) -> None:
    plain = call(name, "--no-such-option")
    said = call(name, "--no-such-option", "--json")
    assert plain.code == said.code == 2
    assert "No such option" in error_of(said)
    assert json.loads(said.err)["help"].startswith("dredge ")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_SETTINGS])
def test_a_setting_that_is_wrong(name: str, call: Dredge) -> None:
    plain = call(name, SCAN_SLICE="many", TYPO="1")
    assert plain.code == 2 and len(plain.err.splitlines()) == 2
    said = call(name, "--json", SCAN_SLICE="many", TYPO="1")
    assert said.code == 2
    assert "DREDGE_SCAN_SLICE" in error_of(said)
    assert len(json.loads(said.err)["problems"]) == 2


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {*NO_SETTINGS, "check"}])
def test_a_database_that_is_away(name: str, call: Dredge, garbage: Garbage) -> None:
    settings = {"DATABASE_URL": AWAY, "BROKER_URL": BROKER_AWAY}
    plain = call(name, **settings)
    assert plain.code == 1
    assert len(plain.err.splitlines()) == 1 and plain.err.startswith("dredge: ") and "secret" not in plain.err
    said = call(name, "--json", **settings)
    assert said.code == 1
    assert "did not answer" in error_of(said)


def test_a_broker_that_is_away(world: World, garbage: Garbage, dredge: Dredge) -> None:
    garbage.image("dead", dead_for_ms=90_000)
    for arguments in (["enqueue", "acme/app"], ["enqueue", "--all"]):
        plain = dredge(*arguments, BROKER_URL=BROKER_AWAY)
        assert plain.code == 1 and len(plain.err.splitlines()) == 1, plain.err
        said = dredge(*arguments, "--json", BROKER_URL=BROKER_AWAY)
        assert said.code == 1
        assert "broker" in error_of(said)


@pytest.mark.parametrize(
    "arguments",
    [["no-such-command"], ["tag", "no-such-command"], ["explain"], ["collect"], ["history", "--limit", "x"]],
    ids=" ".join,
)
def test_a_wrong_call(arguments: list[str], dredge: Dredge) -> None:
    said = dredge(*arguments, "--json")
    assert said.code == 2
    assert error_of(said)


def test_with_json_nothing_is_asked(world: World, dredge: Dredge) -> None:
    world.tag("a"), world.tag("b")
    questions = (
        ["repository", "delete", "acme/app"],
        ["namespace", "delete", "acme"],
        ["tag", "delete", "--permanently", "acme/app:a", "acme/app:b"],
        ["sample", "--manifests", "40"],
    )
    with world.changes() as changes:
        for arguments in questions:
            said = dredge(*arguments, "--json")
            assert said.code == 1
            assert "--yes" in error_of(said)
    assert not changes


def test_an_error_that_nobody_expects_is_one_line_too(
    world: World, dredge: Dredge, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tag("bystander")

    def broken(**_: object) -> None:
        raise ZeroDivisionError("of a fault")

    monkeypatch.setattr("worker.cli.history.read_history", broken)
    with world.changes() as changes:
        said = dredge("history", "--json")
    assert not changes and said.code == 1
    assert error_of(said).startswith("unexpected ZeroDivisionError: of a fault")
