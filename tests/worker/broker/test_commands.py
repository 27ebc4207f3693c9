"""`dredge events tail` and `dredge enqueue`, as people and scripts use them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from model import registry
from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World
from tests.worker.broker.running import ROOT
from worker.broker import routes
from worker.events.publisher import Publisher
from worker.events.relay import relay

DREDGE = [sys.executable, "-c", "from worker.cli import main; main()"]


@contextmanager
def dredge(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*DREDGE, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def tails(broker: Any) -> list[str]:
    return [b for b in broker.smembers("dredge:_kombu.binding.registry.events") if "dredge.tail" in b]


def test_tail_prints_what_happens_and_leaves_no_queue_behind(
    world: World, environment: dict[str, str], broker: Any, valkey: str
) -> None:
    world.tag("v1")
    with dredge(environment, "events", "tail", "--json", "--limit", "1", "--type", "tag.*") as running:
        eventually(lambda: tails(broker))
        registry.delete_tag("acme/app", "v1")
        relay(Publisher(valkey, "dredge:"))
        output, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, errors
    assert json.loads(output)["subject"] == "acme/app:v1"
    assert tails(broker) == []


def test_tail_is_readable_and_ends_cleanly_with_ctrl_c(
    world: World, environment: dict[str, str], broker: Any, valkey: str
) -> None:
    world.tag("v1")
    with dredge(environment, "events", "tail") as running:
        eventually(lambda: tails(broker))
        registry.delete_tag("acme/app", "v1")
        relay(Publisher(valkey, "dredge:"))
        assert running.stdout is not None
        shown = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        assert running.wait(PATIENCE_S) == 0
    assert "registry.tag.deleted" in shown and "acme/app:v1" in shown
    assert tails(broker) == []


def test_enqueue_sends_one_task_for_each_repository(
    world: World, environment: dict[str, str], broker: Any
) -> None:
    prompt = world.repository("prompt", namespace=world.namespace("now", window_s=0))
    world.tag("old", repository=prompt, ended_ms=1000)
    world.tag("kept")
    asked = [["enqueue", "acme/app", "now/prompt", "--json"], ["enqueue", "--all", "--json"]]
    for arguments, expected in zip(asked, (2, 1), strict=True):
        with dredge(environment, *arguments) as running:
            output, errors = running.communicate(timeout=PATIENCE_S)
        assert json.loads(output)["repositories"] == expected, errors
    assert broker.llen("dredge:" + routes.COLLECT_QUEUE) == 3


def test_enqueue_asks_for_repositories_that_can_be(environment: dict[str, str]) -> None:
    for arguments, code in ((["enqueue"], 2), (["enqueue", "--all", "a/b"], 2), (["enqueue", "no-slash"], 2)):
        with dredge(environment, *arguments) as running:
            running.communicate(timeout=PATIENCE_S)
        assert running.returncode == code


def test_enqueue_of_a_repository_that_is_not_there_enqueues_nothing(
    world: World, environment: dict[str, str], broker: Any
) -> None:
    world.tag("bystander")
    with world.changes() as changes, dredge(environment, "enqueue", "acme/ap") as running:
        _, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1
    assert errors == "dredge: There is no repository acme/ap: did you mean acme/app?\n"
    assert not changes
    assert broker.llen("dredge:" + routes.COLLECT_QUEUE) == 0


def test_enqueue_without_garbage_says_why_nothing_is_enqueued(
    world: World, environment: dict[str, str]
) -> None:
    world.tag("bystander")
    with world.changes() as changes, dredge(environment, "enqueue", "--all") as running:
        output, _ = running.communicate(timeout=PATIENCE_S)
    assert not changes
    assert output == "0 repositories enqueued: none has garbage now\n"


def test_waiting_without_a_worker_is_one_line_for_each_repository(
    world: World, environment: dict[str, str]
) -> None:
    world.tag("bystander")
    with world.changes() as changes, dredge(environment, "enqueue", "acme/app", "--wait", "0.5") as running:
        output, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1
    assert not changes
    assert output == "1 repository enqueued\n"
    assert errors == "dredge: acme/app: no outcome within 0.5 s: is a worker running? It stays enqueued\n"


@pytest.mark.parametrize("wait", [(), ("--wait", "1")])
@pytest.mark.parametrize(
    "broker_url",
    [
        "redis://me:hunter2@127.0.0.1:1/0",
        "amqp://me:hunter2@127.0.0.1:1//",
        pytest.param("redis://me:hunter2@nosuch.invalid/0", marks=pytest.mark.slow),
        pytest.param("{valkey}99", marks=pytest.mark.slow),
        pytest.param("redis+sentinel://me:hunter2@127.0.0.1:1/mymaster/0", marks=pytest.mark.slow),
    ],
)
def test_a_broker_that_does_not_answer_is_one_line_without_its_password(
    world: World, environment: dict[str, str], valkey: str, broker_url: str, wait: tuple[str, ...]
) -> None:
    world.tag("bystander")
    told = {
        **environment,
        "DREDGE_REDIS_URL": valkey if broker_url.startswith("amqp") else "",
        "DREDGE_BROKER_URL": broker_url.format(valkey=valkey),
    }
    with world.changes() as changes, dredge(told, "enqueue", "acme/app", *wait) as running:
        output, errors = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, output) == (1, ""), errors
    said = "refuses" if broker_url == "{valkey}99" else "did not answer"
    assert errors.startswith(f"dredge: The broker {said}: ") and errors.count("\n") == 1
    assert "correct DREDGE_BROKER_URL" in errors
    assert "hunter2" not in errors
    assert not changes
