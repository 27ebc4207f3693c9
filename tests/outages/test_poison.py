"""A task that kills its child again and again: bounded, visible, alone, and forgiven when it stops."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from model import namespace, repository
from model.db.connection import connection, execute
from tests.outages.conftest import Ground
from tests.soak.images import image
from tests.worker.broker.running import ROOT, Process, eventually
from worker.cli.embedded import command_environment

pytestmark = pytest.mark.slow


def test_a_poisoned_repository_is_given_up_shown_and_collected_later(ground: Ground) -> None:
    sick = repository.ensure(namespace.ensure("sick", window_s=0).id, "app").id
    deadly = image([9], name="deadly")
    ground.pusher.push(sick, deadly, "deadly")
    healthy, later = ground.push("healthy", 1), ground.push("later", 2)
    ground.push("kept", 3)
    environment = ground.environment
    ground.environment = {**environment, "POISON": str(sick)}
    with ground.system(app="tests.worker.broker.poisoned", concurrency=2) as running:
        well, ground.repository_id = ground.repository_id, sick
        ground.delete("deadly")
        ground.repository_id = well
        ground.delete("healthy")
        ground.gone(healthy, running)
        eventually(lambda: ground.count("dredge_failure"), 30, running)
        ground.delete("later")
        ground.gone(later, running)
        eventually(lambda: calm(running), 25, running)
        assert 1 <= deaths(running) <= 60, "what was enqueued before the failure was noted, five times each"
    shown = status(environment)
    assert [each["repository"] for each in shown["failures"]] == ["sick/app"]
    assert ground.count("manifest", "digest = %s", deadly.digest) == 1
    ground.environment = environment
    with connection():
        execute("UPDATE dredge_failure SET retry_ms = 0")
    with ground.system() as running:
        ground.gone(deadly, running)
        ground.settle(running)
        ground.pull("kept")
    assert ground.count("dredge_failure") == 0


def deaths(running: Process) -> int:
    return running.log.count("exited prematurely: signal 9")


def calm(running: Process) -> bool:
    """Did nobody die for two seconds?"""
    before = deaths(running)
    time.sleep(2)
    return deaths(running) == before


def status(environment: dict[str, str]) -> dict[str, list[dict[str, object]]]:
    """What `dredge status --json` says."""
    done = subprocess.run(
        [sys.executable, "-c", "from worker.cli import main; main()", "status", "--json"],
        cwd=ROOT,
        env=command_environment(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))
