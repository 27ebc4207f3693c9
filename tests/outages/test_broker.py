"""Valkey freezes, refuses to write, and is full: deletions go on, and are carried out afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.outages.conftest import OutageServers

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
def test_a_broker_that_refuses(outage_servers: OutageServers, outage: str) -> None:
    begin, end = REFUSALS[outage]
    images = {tag: outage_servers.push(tag, 1) for tag in ("kept", "before", "during", "after")}
    valkey = redis.Redis.from_url(outage_servers.servers.broker_url)
    with outage_servers.system() as running:
        outage_servers.delete("before")
        outage_servers.gone(images["before"], running)
        begin(valkey)
        outage_servers.delete("during")
        time.sleep(3)
        end(valkey)
        outage_servers.delete("after")
        outage_servers.settle(running)
        outage_servers.gone(images["during"], running)
        outage_servers.gone(images["after"], running)
        outage_servers.pull("kept")
        assert running.stop() == 0


def test_a_broker_that_freezes_and_restarts_under_load(outage_servers: OutageServers) -> None:
    valkey = outage_servers.servers.valkey
    assert valkey is not None
    for number in range(12):
        outage_servers.push(f"v{number}", number)
    with outage_servers.system(concurrency=2) as running:
        for number in range(0, 10, 2):
            outage_servers.delete(f"v{number}", f"v{number + 1}")
            if number % 4:
                valkey.freeze()
                time.sleep(1.5)
                valkey.thaw()
            else:
                valkey.restart()
        outage_servers.settle(running)
        outage_servers.pull("v11")
        assert running.stop() == 0
