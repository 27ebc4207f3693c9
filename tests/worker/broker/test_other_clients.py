"""The examples of docs/reference/enqueueing.md, each pasted and run against a real worker."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from model import registry
from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World
from tests.worker.broker.running import ROOT, worker

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "reference" / "enqueueing.md").read_text()


def example(heading: str, broker_url: str) -> str:
    """The code below a heading of the page, for this broker."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.search(r"```\w+\n(.*?)```", section, re.DOTALL)
    assert found, heading
    return found[1].replace("redis://broker:6379/0", broker_url)


def run(command: list[str], directory: Path) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("heading", ["Python", "Bare Redis"])
def test_a_python_program_enqueues_and_reads_the_result(
    heading: str, world: World, environment: dict[str, str], valkey: str, tmp_path: Path
) -> None:
    world.tag("v1")
    with worker(environment, tmp_path):
        told = run([sys.executable, "-c", example(heading, valkey)], ROOT)
    assert "deleted" in told or "SUCCESS" in told
    assert (registry.get_tag("acme/app", "v1") is None) == (heading == "Bare Redis")


def test_a_node_program_enqueues_and_reads_the_result(
    world: World, environment: dict[str, str], valkey: str, tmp_path: Path
) -> None:
    if not shutil.which("npm"):
        pytest.skip("THERE IS NO NODE HERE: enqueueing from another language is not tested")
    install = [
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--silent",
        "--prefix",
        str(tmp_path),
        "celery-ts@1",
    ]
    if subprocess.run(install, cwd=tmp_path, timeout=PATIENCE_S, check=False).returncode:
        pytest.skip("npm CANNOT INSTALL celery-ts HERE: enqueueing from another language is not tested")
    tag = world.tag("v1")
    (tmp_path / "example.js").write_text(example("Node", valkey))
    with worker(environment, tmp_path) as running:
        told = run(["node", "example.js"], tmp_path)
        assert f"deleted {tag.manifest.digest}" in told
        eventually(lambda: registry.get_tag("acme/app", "v1") is None, running)
