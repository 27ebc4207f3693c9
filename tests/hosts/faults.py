"""What happens to the hosts, one story each; work must go on within the time that each names."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from redbeat.decoder import RedBeatJSONDecoder, RedBeatJSONEncoder

from model import registry
from model.db.connection import fetch_one
from tests.hosts.stage import Stage, initialise, lines_of
from tests.soak.images import Pusher, image
from tests.soak.stage import ROOT
from worker.storage.base import open_stores

SHORT_S, LONG_S = 60.0, 150.0
HOUR_S = 3600


@dataclass(frozen=True)
class Fault:
    """A story: the fault is there while its context lasts, and work goes on within `within_s`."""

    name: str
    inject: Callable[[Stage], Iterator[None]]
    within_s: float = SHORT_S

    @contextmanager
    def injected(self, stage: Stage) -> Iterator[None]:
        yield from self.inject(stage)


def worker_hears_nothing(stage: Stage) -> Iterator[None]:
    """One way: what the first worker sends arrives, the answers of broker and database do not."""
    hosts = stage.network.hosts
    hosts["worker1"].deafen(hosts["broker"], hosts["database"])
    yield
    stage.network.heal()


def worker_is_cut_off_from_the_database(stage: Stage) -> Iterator[None]:
    """Both ways, while the broker still gives it tasks."""
    hosts = stage.network.hosts
    hosts["worker1"].cut(hosts["database"])
    yield
    stage.network.heal()


def broker_is_cut_off(stage: Stage) -> Iterator[None]:
    """Nobody reaches the broker for ten seconds, then everybody."""
    stage.network.hosts["broker"].cut()
    time.sleep(10)
    stage.network.heal()
    yield


def links_flap(stage: Stage) -> Iterator[None]:
    """The first worker and the broker are cut off and back again, twelve times a second each."""
    hosts = stage.network.hosts
    for _ in range(12):
        hosts["worker1"].cut()
        hosts["broker"].cut(hosts["beat"])
        time.sleep(0.5)
        stage.network.heal()
        time.sleep(0.5)
    yield


def lines_are_slow(stage: Stage) -> Iterator[None]:
    """Database and broker answer through lines of 1 Mbit/s, where packets queue for up to 0.4 s."""
    for name in ("database", "broker"):
        stage.network.hosts[name].slow("1mbit", "400ms")
    yield
    stage.network.heal()


def packets_are_lost(stage: Stage) -> Iterator[None]:
    """One packet of ten never arrives, at any host."""
    for host in stage.network.hosts.values():
        host.lose(0.1)
    yield
    stage.network.heal()


def worker_is_cut_off_while_it_erases(stage: Stage) -> Iterator[None]:
    """It erases what it has claimed and cannot settle; it is cut off, and the same blobs are pushed."""
    hosts = stage.network.hosts
    stores = open_stores(stage.settings.storage, upload=stage.settings.upload_location)
    pusher = Pusher(stores, stage.settings.policy)
    made = image([2_000], name="doomed")
    pusher.push(stage.probes, made, "doomed")
    stage.workers.kill("worker2")
    for digit in "123456789":
        hosts["worker1"].swallow(f"DELETE FROM dredge_tombstone WHERE id = ANY('{{{digit}")
    registry.delete_tag(stage.probes, "doomed", policy=stage.settings.policy)
    paths = stage.find_objects(made)
    deadline = time.monotonic() + SHORT_S
    while any(path.exists() for path in paths) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(path.exists() for path in paths), "the worker did not erase"
    assert fetch_one("SELECT count(*) AS n FROM dredge_tombstone WHERE token IS NOT NULL").n, "it has settled"
    hosts["worker1"].cut()
    pusher.push(stage.probes, made, "again")
    stage.workers.start("worker2")
    yield
    stage.network.heal()


def beat_comes_back_after_an_hour(stage: Stage) -> Iterator[None]:
    """The beat is halted, its lock runs out, its schedule is an hour old, and it goes on."""
    group = stage.workers.pid("beat")
    os.killpg(group, signal.SIGSTOP)
    client: Any = stage.broker.client()
    prefix = f"{stage.settings.key_prefix}redbeat:"
    client.delete(f"{prefix}:lock", f"{prefix}lock")
    for name, score in client.zrange(f"{prefix}:schedule", 0, -1, withscores=True):
        client.zadd(f"{prefix}:schedule", {name: score - HOUR_S})
        meta = json.loads(client.hget(name, "meta") or "{}", cls=RedBeatJSONDecoder)
        if meta.get("last_run_at"):
            meta["last_run_at"] -= timedelta(seconds=HOUR_S)
            client.hset(name, "meta", json.dumps(meta, cls=RedBeatJSONEncoder))
    os.killpg(group, signal.SIGCONT)
    yield


def standby_is_promoted(stage: Stage) -> Iterator[None]:
    """The primary is cut off from everybody and dies; its standby, which has every commit, takes over."""
    assert stage.standby is not None
    began = time.time()
    stage.network.hosts["database"].cut()
    stage.primary.kill()
    stage.standby.promote()
    stage.outages.append((began, time.time() + 10))
    yield
    stage.network.heal()


def hosts_are_upgraded_one_by_one(stage: Stage) -> Iterator[None]:
    """First the tables, then each worker, then the beat; old and new work side by side."""
    initialise(ROOT, stage.clients)
    stage.workers.redefine(lines_of(stage.network, ROOT))
    for name in ("worker1", "worker2", "beat"):
        stage.workers.stop(name)
        stage.workers.start(name)
        time.sleep(3)
    yield


FAULTS = (
    Fault("an upgrade, host by host", hosts_are_upgraded_one_by_one),
    Fault("a worker hears no answer", worker_hears_nothing, LONG_S),
    Fault("a worker is cut off from the database", worker_is_cut_off_from_the_database, LONG_S),
    Fault("nobody reaches the broker for 10 s", broker_is_cut_off),
    Fault("links come and go every half second for 12 s", links_flap),
    Fault("lines of 1 Mbit/s, queues of 0.4 s", lines_are_slow, LONG_S),
    Fault("one packet of ten is lost everywhere", packets_are_lost, LONG_S),
    Fault("a worker is cut off while it erases", worker_is_cut_off_while_it_erases, LONG_S),
    Fault("a beat comes back after an hour", beat_comes_back_after_an_hour),
    Fault("the primary dies, a standby is promoted", standby_is_promoted, LONG_S),
)
