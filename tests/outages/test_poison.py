"""A task that kills its child again and again: alone, visible, given up, and collected when it stops."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from model import namespace, repository
from model.db.connection import connection, execute, fetch_one
from tests.outages.conftest import OutageServers
from tests.soak.images import image
from tests.support.patience import eventually
from tests.worker.broker.running import ROOT
from worker.cli.embedded import command_environment

pytestmark = pytest.mark.slow


def test_case_68_a_poisoned_repository_is_given_up_shown_and_collected_later(
    outage_servers: OutageServers,
) -> None:
    sick = repository.ensure(namespace.ensure("sick", window_s=0).id, "app").id
    deadly = image([9], name="deadly")
    outage_servers.pusher.push(sick, deadly, "deadly")
    healthy, later = outage_servers.push("healthy", 1), outage_servers.push("later", 2)
    outage_servers.push("kept", 3)
    environment = outage_servers.environment
    outage_servers.environment = {**environment, "POISON": str(sick)}
    with outage_servers.system(app="tests.worker.broker.poisoned", concurrency=2) as running:
        well, outage_servers.repository_id = outage_servers.repository_id, sick
        outage_servers.delete("deadly")
        outage_servers.repository_id = well
        outage_servers.delete("healthy")
        outage_servers.gone(healthy, running)
        # Celery gives its message up after five tries; the table keeps the count.
        eventually(lambda: "exited prematurely: signal 9" in failure_of(sick), running)
        outage_servers.delete("later")
        outage_servers.gone(later, running)
        eventually(lambda: settled(well), running)
    shown = status(environment)
    assert [each["repository"] for each in shown["failures"]] == ["sick/app"]
    assert outage_servers.count("manifest", "digest = %s", deadly.digest) == 1
    with connection():
        execute("UPDATE dredge_due SET next_try_ms = 1 WHERE attempts > 0")
    outage_servers.environment = environment
    with outage_servers.system() as running:
        outage_servers.gone(deadly, running)
        outage_servers.settle(running)
        outage_servers.pull("kept")
    assert outage_servers.count("dredge_due", "attempts > %s", 0) == 0


def failure_of(repository_id: int) -> str:
    with connection():
        row = fetch_one("SELECT last_error FROM dredge_due WHERE repository_id = %s", (repository_id,))
    return str(row and row.last_error)


def settled(repository_id: int) -> bool:
    with connection():
        row = fetch_one("SELECT attempts FROM dredge_due WHERE repository_id = %s", (repository_id,))
    return row is not None and row.attempts == 0


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
