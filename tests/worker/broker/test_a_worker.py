"""One real worker: what it is asked for is done, what makes no sense is refused, and nothing else happens."""

from __future__ import annotations

import json
import time
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from model import registry
from model.errors import BadInput, NoSuchRepository, RegistryError
from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World, digest_of
from tests.worker.broker.running import worker
from worker.broker import routes
from worker.client import Client

NOWHERE = digest_of("nowhere")
LONG = "x" * 300
INJECTION = "'; DROP TABLE tag; --"


def refused(client: Client, task: str, *arguments: Any) -> Exception:
    """The error in the task's result."""
    with pytest.raises(Exception) as caught:
        client._send(task, *arguments).get(timeout=PATIENCE_S)
    return caught.value


def collected(world: World, tag: int) -> bool:
    return tag not in world.snapshot()["tag"]


def test_a_deleted_tag_of_a_namespace_without_a_window_is_collected_at_once(
    world: World, environment: dict[str, str], tmp_path: Path, client: Client
) -> None:
    prompt = world.repository(namespace=world.namespace("prompt", window_s=0))
    doomed = world.tag("doomed", repository=prompt)
    patient = world.tag("patient")
    with worker(environment, tmp_path) as running:
        done = client.delete_tag("prompt", prompt.name, "doomed").get(timeout=PATIENCE_S)
        assert done["tag"] == "doomed"
        client.delete_tag("acme", "app", "patient").get(timeout=PATIENCE_S)
        eventually(lambda: int(doomed) not in world.snapshot()["tag"], running)
        assert int(patient) in world.snapshot()["tag"]
        assert running.stop() == 0


@pytest.mark.slow
def test_bad_arguments_are_told_in_the_result_and_change_nothing(
    world: World, environment: dict[str, str], tmp_path: Path, client: Client
) -> None:
    world.tag("kept")
    bad_tags = [
        ("acme", "nothing", "kept"), ("nobody", "app", "kept"), (7, "app", "kept"), ("acme", None, "kept"),
        ("acme", "app", LONG), ("acme", "app", INJECTION), ("acme", "app", ["kept"]), (LONG, "app", "kept"),
        ("acme", INJECTION, "kept"), ("acme/app", "x", "kept"),
    ]  # fmt: skip
    bad_repositories: list[Any] = [0, -1, 2**40, True, 1.5, None, [1], {}, LONG, INJECTION, "nothing"]
    with worker(environment, tmp_path) as running, world.only_removes():
        for arguments in bad_tags:
            assert isinstance(refused(client, routes.DELETE_TAG, *arguments), RegistryError), arguments
            for task in (routes.RESTORE_TAG, routes.DELETE_TAG_PERMANENTLY):
                assert isinstance(refused(client, task, *arguments, NOWHERE), RegistryError), arguments
        for digest in ("sha256:short", 17, None, INJECTION, LONG):
            for task in (routes.RESTORE_TAG, routes.DELETE_TAG_PERMANENTLY):
                assert isinstance(refused(client, task, "acme", "app", "kept", digest), BadInput)
        for repository in bad_repositories:
            assert isinstance(refused(client, routes.COLLECT, repository), (BadInput, NoSuchRepository))
        assert isinstance(refused(client, routes.COLLECT, 2**31 - 1), NoSuchRepository)
        assert isinstance(refused(client, routes.COLLECT, "acme/nothing"), NoSuchRepository)
        assert "TypeError" in type(refused(client, routes.COLLECT)).__name__
        assert "TypeError" in type(refused(client, routes.DELETE_TAG, "acme")).__name__
        assert "retry" not in running.log.lower()
        assert "task.failed task=worker.tasks.delete_tag" in running.log


@pytest.mark.slow
def test_a_collection_can_be_asked_for_by_id_and_by_name(
    world: World, environment: dict[str, str], tmp_path: Path, client: Client
) -> None:
    emptied = world.repository("emptied", namespace=world.namespace("now", window_s=0))
    world.tag("old", repository=emptied, ended_ms=1000)
    with worker(environment, tmp_path):
        assert client.collect("now/emptied").get(timeout=PATIENCE_S)["manifests"] == 1
        assert client.collect(int(emptied)).get(timeout=PATIENCE_S)["manifests"] == 0


@pytest.mark.slow
def test_a_restored_tag_lives_and_a_permanently_deleted_one_does_not(
    world: World, environment: dict[str, str], tmp_path: Path, client: Client
) -> None:
    tag = world.tag("v1")
    digest = tag.manifest.digest
    with worker(environment, tmp_path) as running:
        client.delete_tag("acme", "app", "v1").get(timeout=PATIENCE_S)
        assert client.restore_tag("acme", "app", "v1", digest).get(timeout=PATIENCE_S)["digest"] == digest
        assert registry.get_tag("acme/app", "v1") is not None
        gone = client.delete_tag_permanently("acme", "app", "v1", digest, is_alive=True).get(
            timeout=PATIENCE_S
        )
        assert [each["tag"] for each in gone] == ["v1"]
        eventually(lambda: registry.get_tag("acme/app", "v1") is None, running)


@pytest.mark.slow
def test_each_tag_is_collected_at_its_instant_and_none_waits_for_a_scan(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    soon = world.repository("soon", namespace=world.namespace("brief", window_s=3))
    rows = {name: int(world.tag(name, repository=soon)) for name in ("first", "second")}
    due_ms = {}
    with worker(environment, tmp_path) as running:  # no beat, so no scan
        for name, row in rows.items():
            registry.delete_tag("brief/soon", name)
            due_ms[name] = 3_000 + world.value("SELECT lifetime_end_ms FROM tag WHERE id = %s", (row,))
            time.sleep(0.7)
        for name, row in rows.items():
            eventually(partial(collected, world, row), running)
            assert world.value("SELECT extract(epoch FROM clock_timestamp())::float8 * 1000") >= due_ms[name]


@pytest.mark.slow
def test_a_worker_logs_json_with_the_ids_of_its_tasks_celery_s_own_lines_included(
    world: World, environment: dict[str, str], tmp_path: Path, client: Client
) -> None:
    emptied = world.repository("emptied", namespace=world.namespace("now", window_s=0))
    gone = world.tag("old", repository=emptied, ended_ms=1000)
    task_id = ""
    with worker({**environment, "DREDGE_LOG_FORMAT": "json"}, tmp_path) as running:
        asked = client.collect(int(emptied))
        assert asked.get(timeout=PATIENCE_S)["manifests"] == 1
        task_id = asked.id
        eventually(lambda: f"{task_id}] succeeded" in running.log, running)
        assert running.stop() == 0
    lines = [json.loads(line) for line in running.log.splitlines() if line.startswith("{")]
    assert all(datetime.fromisoformat(line["time"]).tzinfo for line in lines)
    mine = {line["logger"]: line for line in lines if line.get("task_id") == task_id}
    assert {"celery.app.trace", "celery.worker.strategy", "dredge.collect"} <= set(mine)
    assert mine["dredge.collect"]["repository_id"] == int(emptied)
    assert {line["task"] for line in mine.values()} == {"worker.tasks.garbage_collect_repo"}
    assert world.rows("SELECT id FROM tag WHERE id = %s", (int(gone),)) == []
