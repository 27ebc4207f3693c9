"""Each example of a help page is executed, or at least understood where its command runs for long."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from tests.support.layouts import plain_layout
from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage
from tests.worker.cli.walk import KEY, RULES
from worker.cli import dredge as program
from worker.cli.examples import EXAMPLES

# They run until they are stopped, or start servers; other tests do so.
LONG = ("up", "embedded", "demo", "web --port", "events tail", "status --watch")
# What they look for is not there, and they say so: the network, a hold, a breaker, an object in the trash, a
# worker; or they find that the objects of this registry are no real images.
FAILING = {
    "dredge inuse load --source https://cluster.example.com/digests": 1,
    "dredge resume acme": 1,
    "dredge approve acme": 1,
    "dredge undelete sha256:DIGEST": 1,
    "dredge undelete sha256:DIGEST --repository acme/app": 1,
    "dredge sweep --accept local_us": 2,
    "dredge retention remove 'old builds'": 1,
    "dredge webhook retry ops": 1,
    "dredge webhook remove ops": 1,
    "dredge namespace restore acme": 1,
    "dredge repository restore acme/app": 1,
    "dredge tag restore acme/app:v1": 1,
    "dredge enqueue acme/app --wait 60": 1,
    "dredge check": 1,
    "dredge check --json": 1,
    "dredge fsck": 1,
    "dredge fsck --deep --json": 1,
}
LINES = sorted({line for lines in EXAMPLES.values() for line in lines})


def is_long(line: str) -> bool:
    return line.removeprefix("dredge ").startswith(LONG)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(line, marks=pytest.mark.slow if "10000" in line else ())
        for line in LINES
        if not is_long(line)
    ],
)
def test_an_example_does_what_its_command_does(
    line: str,
    world: World,
    garbage: Garbage,
    dredge: Dredge,
    valkey: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("v1", "latest", "nightly"):
        garbage.image(name)
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "config.yaml").write_text(
        "DISTRIBUTED_STORAGE_CONFIG: {default: [LocalStorage, {storage_path: /x}]}"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    if " import " in line:
        plain_layout(tmp_path / "layout")
    if " export " in line:
        assert dredge("import", str(plain_layout(tmp_path / "other")), "acme/app").code == 0
    (digest,) = (row[0] for row in world.rows("SELECT digest FROM manifest ORDER BY id LIMIT 1"))
    arguments = [part.replace("sha256:DIGEST", digest) for part in shlex.split(line)[1:]]
    # Not a directory of this machine.
    arguments = [part.replace("/etc/dredge/", f"{tmp_path}/") for part in arguments]
    if "--wait" in arguments:
        arguments[arguments.index("--wait") + 1] = "0.1"
    said = dredge(*arguments, *_yes(arguments), BROKER_URL=valkey, WEBHOOK_KEY=KEY)
    assert said.code == FAILING.get(line, 0), said
    assert world.rows("SELECT count(*) FROM tag WHERE name = 'bystander'") == [(1,)]


def _yes(arguments: list[str]) -> list[str]:
    asks = arguments[0] == "sample" or arguments[:2] in (["repository", "delete"], ["namespace", "delete"])
    return ["--yes"] if asks else []


@pytest.mark.parametrize("line", [line for line in LINES if is_long(line)])
def test_an_example_that_runs_for_long_is_understood(line: str) -> None:
    arguments = shlex.split(line)[1:]
    command: click.Command = program
    context = click.Context(program, info_name="dredge")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        found = command.get_command(context, arguments.pop(0))
        assert found is not None
        command = found
    made = command.make_context(line, arguments)
    assert made.command is command
