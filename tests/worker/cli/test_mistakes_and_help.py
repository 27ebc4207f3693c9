"""Mistakes are one line with a way on; help shows examples; a shell completes repositories."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.world import World
from tests.worker.cli.conftest import Dredge

ROOT = Path(__file__).parents[3]


def test_an_unknown_command_names_the_nearest(dredge: Dredge) -> None:
    said = dredge("plam")
    assert said.code == 2
    assert "Did you mean plan?" in said.err


def test_with_json_an_error_is_one_json_object(world: World, dredge: Dredge) -> None:
    world.tag("bystander")
    with world.changes() as changes:
        for arguments, code in ((["plan", "acme/none"], 1), (["plan", "acme"], 2), (["collect"], 2)):
            said = dredge(*arguments, "--json")
            assert said.code == code
            assert said.out == ""
            told = json.loads(said.err)
            assert told["exit_code"] == code
            assert set(told) - {"help"} == {"error", "exit_code"}
    assert not changes


def test_a_repository_is_completed_from_the_database(world: World) -> None:
    world.tag("bystander")
    world.repository("apricot")
    environment = {
        **os.environ,
        "DREDGE_DATABASE_URL": world.url,
        "_DREDGE_COMPLETE": "bash_complete",
        "COMP_WORDS": "dredge plan acme/ap",
        "COMP_CWORD": "2",
    }
    program = Path(sys.executable).parent / "dredge"
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["plain,acme/app", "plain,acme/apricot"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_by_one_command(
    shell: str, tmp_path: Path, dredge: Dredge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    said = dredge("completion", shell, "--install")
    assert said.code == 0, said.err
    written = Path(said.out.split()[1].rstrip(";"))
    assert written.is_relative_to(tmp_path)
    assert written.read_text().strip() == dredge("completion", shell).out.strip()


LOADED = {
    "bash": ["bash", "--noprofile", "-ic", "complete -p dredge"],
    "zsh": ["zsh", "-ic", "print ${_comps[dredge]}"],
    "fish": ["fish", "-ic", "complete -C 'dredge pla' >/dev/null; complete -c dredge"],
}


@pytest.mark.parametrize("shell", LOADED)
def test_an_installed_completion_is_loaded_by_the_next_shell(
    shell: str, tmp_path: Path, dredge: Dredge, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.delenv("ZDOTDIR", raising=False)
    start = tmp_path / f".{shell}rc"
    start.write_text("# mine")
    for _ in range(2):
        assert dredge("completion", shell, "--install").code == 0
    loaded = subprocess.run(LOADED[shell], capture_output=True, text=True, check=False)
    assert "dredge" in loaded.stdout, loaded.stderr
    assert start.read_text().splitlines()[0] == "# mine"
    assert len(start.read_text().splitlines()) == (1 if shell == "fish" else 2)


def test_several_tags_go_beyond_restoring_only_after_a_yes(
    world: World, dredge: Dredge, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tag("bystander")
    gone = [world.tag("a"), world.tag("b")]
    both = ("acme/app:a", "acme/app:b")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    with world.changes() as changes:
        refused = dredge("tag", "delete", "--permanently", *both)
    assert refused.code == 1
    assert "nothing was changed" in refused.err
    assert not changes
    assert dredge("tag", "delete", "--permanently", "--yes", *both).code == 0
    ended = world.rows("SELECT id FROM tag WHERE lifetime_end_ms IS NOT NULL ORDER BY id")
    assert ended == [(int(tag),) for tag in gone]


def test_ctrl_c_is_one_line_and_exit_code_130(world: World) -> None:
    world.tag("bystander")
    environment = {**os.environ, "DREDGE_DATABASE_URL": world.url}
    story = (
        "import os, signal; from worker.cli import main; from worker.cli import plan;"
        "plan.all_due = lambda policy: os.kill(os.getpid(), signal.SIGINT) or [];"
        "signal.signal(signal.SIGINT, signal.default_int_handler); main(['plan'])"
    )
    with world.changes() as changes:
        done = subprocess.run(
            [sys.executable, "-c", story], env=environment, capture_output=True, text=True, check=False
        )
    assert not changes
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == (
        "dredge: stopped; what was committed stays, the rest waits for the next run"
    )
    assert "Traceback" not in done.stderr


def test_a_negative_age_is_refused(dredge: Dredge) -> None:
    assert dredge("fsck", "--young", "-1").code == 2


# Ctrl-C arrives while this module is loaded.
LOADING = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "worker.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
from worker.command import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "dredge: stopped\n"), (["--json"], '{"error": "stopped", "exit_code": 130}\n')],
)
def test_ctrl_c_before_the_command_has_begun_is_one_line(arguments: list[str], said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOADING, "plan", *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (130, said, "")
    assert "dredge = worker.command:main" in (ROOT / "setup.cfg").read_text()
