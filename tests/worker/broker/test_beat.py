"""The scheduler ends once it is told to, and what it no longer sends is sent by what the rows say."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from celery import Celery

from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World
from tests.worker.broker.running import celery, worker
from worker.broker import routes
from worker.broker.beat import Scheduler
from worker.client import Client
from worker.local.embedded import EmbeddedServers


def test_a_beat_whose_exit_was_lost_ends_at_its_next_tick(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREDGE_BROKER_URL", valkey)
    app = Celery("beat", broker=valkey)
    app.conf.redbeat_redis_url = valkey
    scheduler = Scheduler(app=app, lazy=True)
    scheduler.close()
    with pytest.raises(SystemExit):
        scheduler.tick()


def test_a_beat_that_starts_while_redis_is_down_writes_its_schedule_when_redis_is_back(
    valkey: str, servers: EmbeddedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert servers.valkey is not None
    monkeypatch.setenv("DREDGE_BROKER_URL", valkey)
    monkeypatch.setattr("worker.broker.beat.RETRY_PERIOD_S", 0)
    app = Celery("beat", broker=valkey)
    app.conf.redbeat_redis_url = valkey
    app.conf.beat_schedule = {"scan": {"task": "scan", "schedule": 3600}}
    servers.valkey.kill()
    scheduler = Scheduler(app=app)
    scheduler.tick()
    servers.valkey.start()
    client = redis.Redis.from_url(valkey)

    def is_written() -> bool:
        scheduler.tick()
        return bool(client.keys("redbeat:scan"))

    eventually(is_written)
    scheduler.close()
    client.close()


@pytest.mark.slow
def test_a_sweep_that_beat_forgets_each_time_redis_is_flushed_runs_by_its_row(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    world.tag("bystander")
    day_ago = world.now_ms - 86_400_000
    world.execute("INSERT INTO dredge_periodic_task VALUES ('sweep', 21600000, 1, %s)", (day_ago,))
    ended = "SELECT name FROM dredge_periodic_task WHERE ended_ms > %s ORDER BY name"
    with worker(environment, tmp_path) as working, Client(environment["DREDGE_BROKER_URL"]) as client:
        client.collect(world.repository_id).get(timeout=PATIENCE_S)
        with celery(environment, tmp_path, "call", routes.PRUNE) as call:
            assert call.process.wait(PATIENCE_S) == 0, call.log
        eventually(lambda: world.rows(ended, (day_ago,)) == [("prune",), ("sweep",)], working)
        assert "periodic.late" in working.log
    assert world.value("SELECT count(*) FROM dredge_periodic_task") == 10
    assert world.value("SELECT count(*) FROM tag") == 1
