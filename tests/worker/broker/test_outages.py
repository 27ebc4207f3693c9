"""A worker and a beat live through whatever happens to their broker, their database and their children."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from model import registry
from model.db import connection as database
from model.db import schema
from tests.support.databases import memory
from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World
from tests.worker.broker.running import Process, celery, worker
from worker.broker import routes
from worker.client import Client
from worker.local.embedded import EmbeddedServers

pytestmark = pytest.mark.slow


@pytest.fixture
def own() -> Iterator[EmbeddedServers]:
    """Servers that may be ill-treated."""
    with EmbeddedServers(temporary_in=memory()) as servers:
        database.configure(servers.database_url)
        schema.create()
        yield servers
        database.db.close_all()


@pytest.fixture
def where(own: EmbeddedServers) -> dict[str, str]:
    return {**own.environment(), "DREDGE_SCAN_INTERVAL_S": "600"}


def prompt_tags(own: EmbeddedServers, *names: str) -> World:
    """Tags in `now/prompt`, whose namespace has no window."""
    world = World(own.database_url)
    repository = world.repository("prompt", namespace=world.namespace("now", window_s=0))
    for name in names:
        world.tag(name, repository=repository)
    return world


def gone(own: EmbeddedServers, name: str, *running: Process) -> None:
    """Wait until no row of the tag is left."""

    def is_gone() -> bool:
        with database.connection():
            rows: int = database.fetch_one("SELECT count(*) AS n FROM tag WHERE name = %s", (name,)).n
            return rows == 0

    eventually(is_gone, *running)


def test_deletions_while_the_broker_is_away_are_collected_when_it_is_back(
    own: EmbeddedServers, where: dict[str, str], tmp_path: Path
) -> None:
    prompt_tags(own, "before", "during", "after")
    assert own.valkey is not None
    with worker(where, tmp_path) as running:
        registry.delete_tag("now/prompt", "before")
        gone(own, "before", running)
        own.valkey.kill()
        registry.delete_tag("now/prompt", "during")
        own.valkey.start()
        gone(own, "during", running)
        registry.delete_tag("now/prompt", "after")
        gone(own, "after", running)
        assert running.stop() == 0


def test_case_39_a_flushed_broker_forgets_nothing_that_matters(
    own: EmbeddedServers, where: dict[str, str], tmp_path: Path
) -> None:
    prompt_tags(own, "first", "second")
    client = redis.Redis.from_url(own.broker_url)
    with worker(where, tmp_path) as running:
        client.flushall()
        registry.delete_tag("now/prompt", "first")
        gone(own, "first", running)
        client.flushall()
        registry.delete_tag("now/prompt", "second")
        gone(own, "second", running)


def test_a_worker_outlives_its_database(own: EmbeddedServers, where: dict[str, str], tmp_path: Path) -> None:
    prompt_tags(own, "first", "second")
    assert own.postgres is not None
    with worker(where, tmp_path) as running, Client(own.broker_url) as client:
        registry.delete_tag("now/prompt", "first")
        gone(own, "first", running)
        own.postgres.kill()
        asked = client.delete_tag("now", "prompt", "second")
        running.wait_for("retry")
        own.postgres.start()
        assert asked.get(timeout=PATIENCE_S)["tag"] == "second"
        gone(own, "second", running)
        assert running.stop() == 0


def test_a_repository_that_kills_its_process_backs_off_and_blocks_nobody(
    own: EmbeddedServers, where: dict[str, str], tmp_path: Path
) -> None:
    world = prompt_tags(own, "healthy")
    poison = world.repository("poison", namespace=world.namespace("sick", window_s=0))
    world.tag("deadly", repository=poison)
    app = "tests.worker.broker.poisoned"
    with worker({**where, "POISON": str(int(poison))}, tmp_path, app=app) as running:
        registry.delete_tag("sick/poison", "deadly")
        registry.delete_tag("now/prompt", "healthy")
        # It may have died in the poisoned one's batch: then it is collected alone at its next try.
        gone(own, "healthy", running)
        attempts = "SELECT attempts FROM dredge_due WHERE repository_id = %s"
        eventually(lambda: world.value(attempts, (int(poison),)) or 0, running)
        eventually(lambda: "exited prematurely: signal 9" in running.log, running)
        deaths = running.log.count("exited prematurely: signal 9")
        assert deaths >= 1
        assert world.value("SELECT count(*) FROM tag WHERE name = 'deadly'") == 1


def test_work_of_a_killed_worker_is_done_by_the_next(
    own: EmbeddedServers, where: dict[str, str], tmp_path: Path
) -> None:
    prompt_tags(own, "first", "second")
    with worker(where, tmp_path) as running:
        running.stop(signal.SIGKILL)
    registry.delete_tag("now/prompt", "first")
    quick = {**where, "DREDGE_SCAN_INTERVAL_S": "0.5"}
    with worker(quick, tmp_path) as running:
        gone(own, "first", running)


def ticks(running: Process) -> int:
    return running.log.count("Sending due task find")


def test_the_beat_goes_on_after_a_flush_and_a_restart_of_its_redis(
    own: EmbeddedServers, where: dict[str, str], tmp_path: Path
) -> None:
    assert own.valkey is not None
    with celery({**where, "DREDGE_SCAN_INTERVAL_S": "0.3"}, tmp_path, "beat") as running:
        eventually(lambda: ticks(running) > 1, running)
        redis.Redis.from_url(own.broker_url).flushall()
        seen = ticks(running)
        eventually(lambda: ticks(running) > seen + 1, running)
        own.valkey.kill()
        own.valkey.start()
        seen = ticks(running)
        eventually(lambda: ticks(running) > seen + 1, running)
        assert running.stop() == 0


def test_case_40_of_two_beats_one_sends_and_the_other_takes_over(
    own: EmbeddedServers, where: dict[str, str], tmp_path: Path
) -> None:
    quick = {**where, "DREDGE_SCAN_INTERVAL_S": "0.3"}
    with celery(quick, tmp_path, "beat") as first:
        eventually(lambda: ticks(first) > 1, first)
        with celery(quick, tmp_path, "beat") as second:
            second.wait_for("Starting...")
            seen = ticks(first)
            eventually(lambda: ticks(first) > seen + 3, first)
            assert ticks(second) == 0
            first.stop()
            eventually(lambda: ticks(second) > 1, second)


def test_stale_ticks_do_not_pile_up(own: EmbeddedServers, where: dict[str, str], tmp_path: Path) -> None:
    client: Any = redis.Redis.from_url(own.broker_url)
    with celery({**where, "DREDGE_SCAN_INTERVAL_S": "0.2"}, tmp_path, "beat") as running:
        eventually(lambda: client.llen("dredge:" + routes.MAINTENANCE_QUEUE) > 3, running)
    assert all(b'"expires": "20' in raw for raw in client.lrange("dredge:" + routes.MAINTENANCE_QUEUE, 0, -1))
