"""A real Prometheus scrapes a real worker, and an alert fires and ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.controls.breaker import approve
from tests.support.patience import eventually
from tests.support.prometheus import firing, needs_prometheus, prometheus
from tests.support.world import World
from tests.worker.broker.running import free_port, worker


@pytest.mark.slow
@needs_prometheus
def test_an_open_breaker_fires_its_alert_until_it_is_approved(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    world.tag("bystander")
    world.execute(
        "INSERT INTO dredge_breaker (namespace_id, window_ms, opened_ms, reason)"
        " VALUES (%s, 1, 1, 'too much')",
        (world.namespace_id,),
    )
    scraped = free_port()
    told = {**environment, "DREDGE_METRICS_PORT": str(scraped)}
    with worker(told, tmp_path) as running, prometheus(tmp_path, scraped) as (watching, port):
        eventually(lambda: "DredgeBreakerOpen" in firing(port), running, watching)
        assert approve(world.namespace_id, author="me")
        eventually(lambda: "DredgeBreakerOpen" not in firing(port), running, watching)
    assert world.rows("SELECT opened_ms, approved_by FROM dredge_breaker") == [(None, "me")]
