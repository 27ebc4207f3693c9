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
from tests.hosts.deployment import Deployment, initialise, lines_of
from tests.soak.images import Pusher, image
from tests.soak.processes import ROOT
from worker.storage.open import open_stores

SHORT_S, LONG_S = 60.0, 150.0
HOUR_S = 3600


@dataclass(frozen=True)
class Fault:
    """A story: the fault is there while its context lasts, and work goes on within `within_s`."""

    name: str
    inject: Callable[[Deployment], Iterator[None]]
    within_s: float = SHORT_S

    @contextmanager
    def injected(self, deployment: Deployment) -> Iterator[None]:
        yield from self.inject(deployment)


def worker_gets_no_answer(deployment: Deployment) -> Iterator[None]:
    """One way: what the first worker sends arrives, the answers of broker and database do not."""
    hosts = deployment.network.hosts
    hosts["worker1"].block_answers_from(hosts["broker"], hosts["database"])
    yield
    deployment.network.restore()


def worker_is_cut_off_from_the_database(deployment: Deployment) -> Iterator[None]:
    """Both ways, while the broker still gives it tasks."""
    hosts = deployment.network.hosts
    hosts["worker1"].cut(hosts["database"])
    yield
    deployment.network.restore()


def broker_is_cut_off(deployment: Deployment) -> Iterator[None]:
    """Nobody reaches the broker for ten seconds, then everybody."""
    deployment.network.hosts["broker"].cut()
    time.sleep(10)
    deployment.network.restore()
    yield


def links_flap(deployment: Deployment) -> Iterator[None]:
    """The first worker and the broker are cut off and back again, twelve times a second each."""
    hosts = deployment.network.hosts
    for _ in range(12):
        hosts["worker1"].cut()
        hosts["broker"].cut(hosts["beat"])
        time.sleep(0.5)
        deployment.network.restore()
        time.sleep(0.5)
    yield


def lines_are_slow(deployment: Deployment) -> Iterator[None]:
    """Database and broker answer through lines of 1 Mbit/s, where packets queue for up to 0.4 s."""
    for name in ("database", "broker"):
        deployment.network.hosts[name].slow("1mbit", "400ms")
    yield
    deployment.network.restore()


def packets_are_lost(deployment: Deployment) -> Iterator[None]:
    """One packet of ten never arrives, at any host."""
    for host in deployment.network.hosts.values():
        host.lose(0.1)
    yield
    deployment.network.restore()


def worker_is_cut_off_while_it_erases(deployment: Deployment) -> Iterator[None]:
    """It erases what it has claimed and cannot settle; it is cut off, and the same blobs are pushed."""
    hosts = deployment.network.hosts
    stores = open_stores(deployment.settings.storage, upload=deployment.settings.upload_location)
    pusher = Pusher(stores, deployment.settings.policy)
    made = image([2_000], name="doomed")
    pusher.push(deployment.probes, made, "doomed")
    deployment.workers.kill("worker2")
    for digit in "123456789":
        hosts["worker1"].swallow(f"DELETE FROM dredge_tombstone WHERE id = ANY('{{{digit}")
    registry.delete_tag(deployment.probes, "doomed", policy=deployment.settings.policy)
    paths = deployment.find_objects(made)
    deadline = time.monotonic() + SHORT_S
    while any(path.exists() for path in paths) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(path.exists() for path in paths), "the worker did not erase"
    assert fetch_one("SELECT count(*) AS n FROM dredge_tombstone WHERE token IS NOT NULL").n, "it has settled"
    hosts["worker1"].cut()
    pusher.push(deployment.probes, made, "again")
    deployment.workers.start("worker2")
    yield
    deployment.network.restore()


def beat_comes_back_after_an_hour(deployment: Deployment) -> Iterator[None]:
    """The beat is halted, its lock runs out, its schedule is an hour old, and it goes on."""
    group = deployment.workers.pid("beat")
    os.killpg(group, signal.SIGSTOP)
    client: Any = deployment.broker.client()
    prefix = f"{deployment.settings.key_prefix}redbeat:"
    client.delete(f"{prefix}:lock", f"{prefix}lock")
    for name, score in client.zrange(f"{prefix}:schedule", 0, -1, withscores=True):
        client.zadd(f"{prefix}:schedule", {name: score - HOUR_S})
        meta = json.loads(client.hget(name, "meta") or "{}", cls=RedBeatJSONDecoder)
        if meta.get("last_run_at"):
            meta["last_run_at"] -= timedelta(seconds=HOUR_S)
            client.hset(name, "meta", json.dumps(meta, cls=RedBeatJSONEncoder))
    os.killpg(group, signal.SIGCONT)
    yield


def standby_is_promoted(deployment: Deployment) -> Iterator[None]:
    """The primary is cut off from everybody and dies; its standby, which has every commit, takes over."""
    assert deployment.standby is not None
    began = time.time()
    deployment.network.hosts["database"].cut()
    deployment.primary.kill()
    deployment.standby.promote()
    deployment.outages.append((began, time.time() + 10))
    yield
    deployment.network.restore()


def hosts_are_upgraded_one_by_one(deployment: Deployment) -> Iterator[None]:
    """First the tables, then each worker, then the beat; old and new work side by side."""
    initialise(ROOT, deployment.clients)
    deployment.workers.redefine(lines_of(deployment.network, ROOT))
    for name in ("worker1", "worker2", "beat"):
        deployment.workers.stop(name)
        deployment.workers.start(name)
        time.sleep(3)
    yield


FAULTS = (
    Fault("an upgrade, host by host", hosts_are_upgraded_one_by_one),
    Fault("a worker gets no answer", worker_gets_no_answer, LONG_S),
    Fault("a worker is cut off from the database", worker_is_cut_off_from_the_database, LONG_S),
    Fault("nobody reaches the broker for 10 s", broker_is_cut_off),
    Fault("links come and go every half second for 12 s", links_flap),
    Fault("lines of 1 Mbit/s, queues of 0.4 s", lines_are_slow, LONG_S),
    Fault("one packet of ten is lost everywhere", packets_are_lost, LONG_S),
    Fault("a worker is cut off while it erases", worker_is_cut_off_while_it_erases, LONG_S),
    Fault("a beat comes back after an hour", beat_comes_back_after_an_hour),
    Fault("the primary dies, a standby is promoted", standby_is_promoted, LONG_S),
)
