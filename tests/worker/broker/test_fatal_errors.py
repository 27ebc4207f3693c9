"""No error of a task ends the worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World
from tests.worker.broker.running import worker
from worker.client import Client

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["MemoryError", "Panic"])
def test_an_error_that_would_end_a_process_ends_only_its_task(
    environment: dict[str, str], world: World, tmp_path: Path, kind: str
) -> None:
    owner = world.namespace("now", window_s=0)
    sick, healthy = world.repository("sick", namespace=owner), world.repository("well", namespace=owner)
    for repository in (sick, healthy):
        world.tag("old", repository=repository, ended_ms=1)
    app = "tests.worker.broker.fatal"
    facts = {**environment, "FATAL": str(int(sick)), "FATAL_KIND": kind, "DREDGE_SCAN_INTERVAL_S": "600"}
    with worker(facts, tmp_path, app=app) as running, Client(environment["DREDGE_BROKER_URL"]) as client:
        client.collect(int(sick))
        running.wait_for("task.failed")
        client.collect(int(healthy)).get(timeout=PATIENCE_S)
        eventually(lambda: world.value("SELECT count(*) FROM tag") == 1, running)
        assert running.process.poll() is None
        assert running.stop() == 0
    assert world.value("SELECT repository_id FROM tag") == int(sick)
