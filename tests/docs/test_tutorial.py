"""The tutorial's commands, run in its order on a registry with garbage."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from model.db.connection import fetch
from tests.support.world import World
from worker.cli.embedded import command_environment

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
STEPS = [line for block in re.findall(r"```sh run\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


@pytest.mark.slow
def test_the_tutorial_collects_what_is_dead_and_leaves_the_rest(
    world: World, valkey: str, tmp_path: Path
) -> None:
    dead, kept = world.tag("old", ended_ms=1), world.tag("new")
    environment = command_environment(
        {"DREDGE_DATABASE_URL": world.url, "DREDGE_BROKER_URL": valkey, "DREDGE_STORAGE": str(tmp_path)}
    )
    assert STEPS[0] == "dredge init"
    assert len(STEPS) == 7
    for step in STEPS:
        done = subprocess.run(
            [str(Path(sys.executable).parent / "dredge"), *step.split()[1:]],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"
    assert [row.id for row in fetch("SELECT id FROM tag WHERE id = ANY(%s)", ([dead, kept],))] == [kept]
