"""Valkey freezes, refuses to write, and is full: deletions go on, and are carried out afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.outages.conftest import Ground

pytestmark = pytest.mark.slow

# Callables of a `redis.Redis`, whose `execute_command` is untyped.
Outage = tuple[Callable[[Any], object], Callable[[Any], object]]
REFUSALS: dict[str, Outage] = {
    "read-only": (
        lambda valkey: valkey.execute_command("REPLICAOF", "127.0.0.1", "1"),
        lambda valkey: valkey.execute_command("REPLICAOF", "NO", "ONE"),
    ),
    "without-replicas": (
        lambda valkey: valkey.config_set("min-replicas-to-write", 1),
        lambda valkey: valkey.config_set("min-replicas-to-write", 0),
    ),
    "full": (
        lambda valkey: valkey.config_set("maxmemory", 1),
        lambda valkey: valkey.config_set("maxmemory", 0),
    ),
    "flushed": (lambda valkey: valkey.flushall(), lambda valkey: None),
}


@pytest.mark.parametrize("outage", REFUSALS)
def test_a_broker_that_refuses(ground: Ground, outage: str) -> None:
    begin, end = REFUSALS[outage]
    images = {tag: ground.push(tag, 1) for tag in ("kept", "before", "during", "after")}
    valkey = redis.Redis.from_url(ground.servers.broker_url)
    with ground.system() as running:
        ground.delete("before")
        ground.gone(images["before"], running)
        begin(valkey)
        ground.delete("during")
        time.sleep(3)
        end(valkey)
        ground.delete("after")
        ground.settle(running)
        ground.gone(images["during"], running)
        ground.gone(images["after"], running)
        ground.pull("kept")
        assert running.stop() == 0


def test_a_broker_that_freezes_and_restarts_under_load(ground: Ground) -> None:
    valkey = ground.servers.valkey
    assert valkey is not None
    for number in range(12):
        ground.push(f"v{number}", number)
    with ground.system(concurrency=2) as running:
        for number in range(0, 10, 2):
            ground.delete(f"v{number}", f"v{number + 1}")
            if number % 4:
                valkey.freeze()
                time.sleep(1.5)
                valkey.thaw()
            else:
                valkey.restart()
        ground.settle(running)
        ground.pull("v11")
        assert running.stop() == 0
