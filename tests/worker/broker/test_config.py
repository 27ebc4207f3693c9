"""Celery takes any word for an option and any name for a task: here every one is checked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from celery import Celery, Task
from celery.app.defaults import SETTING_KEYS

from tests.worker.broker.running import ROOT
from worker.broker import routes

BROKER = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def application() -> Iterator[Celery]:
    """The application, configured for a broker that is not there."""
    before = os.environ.get("DREDGE_BROKER_URL")
    os.environ["DREDGE_BROKER_URL"] = BROKER
    from worker import application

    assert application.conf.broker_url
    yield application
    if before is None:
        del os.environ["DREDGE_BROKER_URL"]


def ours(application: Celery) -> dict[str, Task]:
    return {name: task for name, task in application.tasks.items() if not name.startswith("celery.")}


def test_every_task_is_routed_and_every_route_has_a_task(application: Celery) -> None:
    assert set(ours(application)) == set(routes.QUEUE_OF)


def test_every_option_of_a_task_is_one_that_celery_knows(application: Celery) -> None:
    known = {name for each in Task.__mro__ for name in vars(each)} | {name for name, _ in Task.from_config}
    generated = {
        "run",
        "name",
        "__wrapped__",
        "__header__",
        "_decorated",
        "_decorated_fun",
        "__annotations__",
    }
    for task in ours(application).values():
        assert set(vars(type(task))) - known - generated == set(), task.name
        assert task.max_retries is not None
        assert task.retry_on_worker_lost and task.acks_late


def test_every_setting_is_one_that_celery_or_redbeat_knows(application: Celery) -> None:
    import celeryconfig

    redbeat = {"redbeat_redis_url", "redbeat_redis_options", "redbeat_key_prefix", "redbeat_lock_timeout"}
    modules = {"os", "routes", "urls"}
    names = {name for name in vars(celeryconfig) if name.islower() and not name.startswith("_")}
    assert names - modules - redbeat <= SETTING_KEYS


def test_every_beat_entry_names_a_registered_task_and_expires(application: Celery) -> None:
    for entry in application.conf.beat_schedule.values():
        assert entry["task"] in application.tasks
        assert entry["options"]["expires"] >= 2 * entry["schedule"]


def test_nothing_but_json_is_sent_or_taken(application: Celery) -> None:
    assert application.conf.accept_content == ["json"]
    assert application.conf.result_accept_content == ["json"]
    assert (application.conf.task_serializer, application.conf.result_serializer) == ("json", "json")


def test_only_tasks_that_somebody_waits_for_store_a_result(application: Celery) -> None:
    tags = {routes.DELETE_TAG, routes.DELETE_TAG_PERMANENTLY, routes.RESTORE_TAG}
    deletions = {
        *(routes.DELETE_REPOSITORY, routes.RESTORE_REPOSITORY),
        *(routes.DELETE_NAMESPACE, routes.RESTORE_NAMESPACE),
    }
    purges = {routes.PURGE_REPOSITORY, routes.PURGE_NAMESPACE}
    waited_for = {routes.COLLECT, routes.RETAIN} | purges | tags | deletions
    assert {name for name, task in ours(application).items() if not task.ignore_result} == waited_for


def test_importing_the_tasks_opens_nothing_and_reads_no_setting() -> None:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("DREDGE_")}
    subprocess.run([sys.executable, "-c", "import worker.tasks"], env=quiet, cwd=ROOT, check=True)


def test_a_missing_broker_is_told_with_what_to_do() -> None:
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("DREDGE_")}
    asked = subprocess.run(
        [sys.executable, "-c", "import celeryconfig"], env=quiet, cwd=ROOT, capture_output=True, text=True
    )
    assert "DREDGE_BROKER_URL: not set" in asked.stderr
