"""A real worker and a real scheduler purge what was deleted and end what rules select, by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from model import registry
from model.errors import NoSuchRepository
from model.policy import DEFAULT
from tests.model.retention.retaining import aged, alive
from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World
from tests.worker.broker.running import celery, free_port, scrape, worker
from worker.client import Client


def delete_long_ago(world: World) -> None:
    """A namespace of three repositories, and a repository, deleted eight days ago."""
    gone = world.namespace("gone")
    for n in range(3):
        world.tag("v1", repository=world.repository(f"r{n}", namespace=gone))
    world.tag("v1", repository=world.repository("doomed"))
    registry.delete_namespace("gone")
    registry.delete_repository("acme/doomed")
    world.execute("UPDATE deletednamespace SET marked = marked - interval '8 days'")
    world.execute("UPDATE deletedrepository SET marked = marked - interval '8 days'")


def test_beat_and_a_worker_purge_and_retain_without_being_asked(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n- {name: old, action: expire, older_than: 1d}\n")
    running = tmp_path / "running"
    kept = aged(world, "running", 9)
    running.write_text(kept.manifest.digest)
    aged(world, "old", 9)
    aged(world, "new", 0)
    delete_long_ago(world)
    restorable = world.tag("v1", repository=world.repository("restorable"))
    registry.delete_repository("acme/restorable", policy=DEFAULT)
    port = free_port()
    fast = {
        "DREDGE_METRICS_PORT": str(port),
        "DREDGE_PURGE_INTERVAL_S": "0.3",
        "DREDGE_RETENTION_FILE": str(rules),
        "DREDGE_IN_USE_SOURCE": str(running),
        "DREDGE_IN_USE_INTERVAL_S": "1",
    }
    with worker(environment | fast, tmp_path) as working:
        with celery(environment | fast, tmp_path, "beat", "--loglevel", "warning") as beat:
            left = 'SELECT username FROM "user" ORDER BY id'
            eventually(lambda: world.rows(left) == [("acme",)], working, beat)
            names = "SELECT count(*) FROM repository"
            eventually(lambda: world.value(names) == 2, working, beat)
            loaded = "SELECT count(*) FROM dredge_in_use"
            eventually(lambda: world.value(loaded) == 1, working, beat)
        counted = {"quay_gc_repos_purged_total": 4, "quay_gc_namespaces_purged_total": 1}
        eventually(lambda: counted.items() <= scrape(port).items(), working)
        send(environment, world.repository_id)
        eventually(lambda: alive(world) == {"running", "new"}, working)
        assert working.stop() == 0
    assert registry.restore_repository("acme/restorable").id == int(restorable.repository)
    assert registry.get_tag("acme/restorable", "v1") is not None


def send(environment: dict[str, str], repository_id: int) -> None:
    """Ask for the rules of one repository by the task's name, as any other service does."""

    with Client(environment["DREDGE_BROKER_URL"]) as client:
        client.retain(repository_id).get(timeout=PATIENCE_S)


def test_another_service_deletes_and_restores_through_the_workers(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    world.tag("v1", repository=world.repository("doomed"))
    other = world.namespace("other")
    world.tag("v1", repository=world.repository("app", namespace=other))
    marked = "SELECT count(*) FROM deletedrepository UNION ALL SELECT count(*) FROM deletednamespace"
    with worker(environment, tmp_path), Client(environment["DREDGE_BROKER_URL"]) as client:
        gone = client.delete_repository("acme/doomed").get(timeout=PATIENCE_S)
        assert (gone["namespace"], gone["name"]) == ("acme", "doomed")
        assert client.delete_namespace("other").get(timeout=PATIENCE_S)["name"] == "other"
        assert world.rows(marked) == [(1,), (1,)]
        assert client.purge_repository(gone["id"]).get(timeout=PATIENCE_S)["manifests"] == 0
        with pytest.raises(NoSuchRepository):
            client.delete_repository("acme/doomed").get(timeout=PATIENCE_S)
        client.restore_repository("acme/doomed", name="saved").get(timeout=PATIENCE_S)
        client.restore_namespace("other").get(timeout=PATIENCE_S)
    assert world.rows(marked) == [(0,), (0,)]
    assert registry.get_tag("acme/saved", "v1") is not None
    assert registry.get_tag("other/app", "v1") is not None
