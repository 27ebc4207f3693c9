"""Workers that are killed while they send to a webhook: every event arrives, and none is owed for ever."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from model import registry
from model.events.webhooks import add_webhook
from tests.outages.test_eraser import signal_all
from tests.support.patience import eventually
from tests.support.world import World
from tests.worker.broker.running import celery, worker
from tests.worker.events.receiving import KEY, Endpoint, endpoint

EVENTS = 40


def delivered(hook: Endpoint) -> list[str]:
    """Subjects of the events that the endpoint has accepted."""
    return [json.loads(each.body)["subject"] for each in hook.received]


@pytest.mark.slow
def test_kills_lose_no_delivery_and_each_repeats_one_request_at_most(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    told = {
        **environment,
        "DREDGE_WEBHOOK_KEY": KEY,
        "DREDGE_WEBHOOK_NETWORKS": "127.0.0.0/8",
        "DREDGE_SCAN_INTERVAL_S": "5",
    }
    for n in range(EVENTS):
        world.tag(f"v{n}")
    bystander = world.tag("bystander")
    kills = 0
    with endpoint() as hook, celery(told, tmp_path, "beat") as beat:
        add_webhook("ops", hook.url, ["tag.deleted"])
        for n in range(EVENTS):
            registry.delete_tag("acme/app", f"v{n}")
        while kills < 3:
            reached = len(hook.received) + 7
            with worker(told, tmp_path) as running:
                eventually(lambda: len(hook.received) >= reached, running, beat)  # noqa: B023
                signal_all(running, signal.SIGKILL)
                kills += 1
            # The claims of the killed worker have a lease, which would end later.
            world.execute("UPDATE dredge_delivery SET due_ms = 0")
        with worker(told, tmp_path) as running:
            eventually(lambda: world.value("SELECT count(*) FROM dredge_delivery") == 0, running, beat)
        assert set(delivered(hook)) == {f"acme/app:v{n}" for n in range(EVENTS)}
        assert len(hook.received) <= EVENTS + kills
        assert len({each.headers["webhook-id"] for each in hook.received}) == EVENTS
    assert int(bystander) in world.snapshot()["tag"]
