"""A hold that is set while two workers collect: every process stops within one batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.controls.holds import lift_hold, set_hold
from model.db.clock import now_ms
from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World
from tests.worker.broker.running import worker
from worker.client import Client

TAGS, BATCH = 4000, 16


def fill(world: World) -> list[int]:
    """Giant repositories without a window, all of their tags dead."""
    prompt = world.namespace("prompt", window_s=0)
    found = []
    for n in range(2):
        repository = world.repository(f"giant{n}", namespace=prompt)
        manifest = world.manifest(repository)
        world.execute(
            "INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, hidden,"
            " reversion, tag_kind_id, immutable) SELECT 't' || n, %s, %s, n, n + 1, false, false,"
            " (SELECT id FROM tagkind WHERE name = 'tag'), false FROM generate_series(1, %s) n",
            (int(repository), int(manifest), TAGS),
        )
        found.append(int(repository))
    return found


@pytest.mark.slow
def test_case_76_a_hold_stops_every_process_of_two_workers_within_one_batch_and_loses_nothing(
    world: World, environment: dict[str, str], tmp_path: Path, client: Client
) -> None:
    bystander = world.tag("bystander")
    repositories = fill(world)
    slow = {**environment, "DREDGE_BATCH_MANIFESTS": str(BATCH), "DREDGE_SCAN_INTERVAL_S": "0.5"}
    left = "SELECT count(*) FROM tag WHERE repository_id = ANY(%s)"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        worker(slow, tmp_path / "one") as one,
        worker(slow, tmp_path / "two") as two,
    ):
        for repository_id in repositories:
            client.collect(repository_id)
        # Each worker has one process, so each collects one of the repositories.
        for each in repositories:
            eventually(lambda: world.value(left, ([each],)) < TAGS, one, two)  # noqa: B023
        set_hold(reason="stop", author="test")
        stopped_ms = now_ms()
        results = [client.collect(repository_id).get(timeout=PATIENCE_S) for repository_id in repositories]
        assert all("on hold" in result["stopped"] for result in results)
        started = "SELECT count(*) FROM dredge_collection WHERE stage = 'collect' AND started_ms > %s"
        assert world.value(started, (stopped_ms,)) == 0
        assert world.value(left, (repositories,)) > 0
        lift_hold()
        for repository_id in repositories:
            client.collect(repository_id)
        eventually(lambda: world.value(left, (repositories,)) == 0, one, two)
        assert int(bystander) in world.snapshot()["tag"]
