"""Measure the time from a deletion to its enqueued collection, and the rates of outbox and relay."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import redis

from bench.figure import Figure, Options
from bench.lab import Lab, configured, isolated
from bench.system import beat, environment, worker
from model import registry
from model.db.clock import now_ms
from model.db.connection import execute, fetch, transaction
from model.events import outbox
from model.events import record as events
from worker.broker import routes
from worker.events.publisher import Publisher
from worker.events.relay import relay, republish_after_flush
from worker.local.sample import Shape

NAME = "events"
ROWS = 20_000
# None of them is collected, and at most 200 messages of due repositories wait at once.
DELETIONS = 150
PER_TRANSACTION = 20
SCAN_S = 2.0
PATIENCE_S = 30
_DIGEST = "sha256:" + "0" * 64


def run(options: Options) -> Iterator[Figure]:
    """Yield rates with a backlog and in steady state, and the delay of a deletion with and without events."""
    with Lab(valkey=True) as lab, tempfile.TemporaryDirectory(prefix="dredge-bench-") as directory:
        broker = lab.servers.broker_url
        with lab.clone(None) as url:
            yield Figure(NAME, "relay of a backlog", isolated(drain, url, broker), "events/s", "above 2,000")
        with lab.clone(None) as url:
            rate, lag = isolated(carry, url, broker, options.seconds)
            yield Figure(NAME, "written and relayed at once", rate, "events/s", "above 2,000")
            yield Figure(NAME, "left when a writer at full speed stops", lag, "events")
        yield from _latencies(lab, Path(directory))


def drain(url: str, broker_url: str) -> float:
    """Return the events per second of one relay on a full outbox."""
    redis.Redis.from_url(broker_url).flushall()
    publisher = Publisher(broker_url, "dredge:")
    with configured(url):
        republish_after_flush(publisher)
        _record(ROWS)
        started = time.monotonic()
        while relay(publisher).has_more:
            pass
        return ROWS / (time.monotonic() - started)


def carry(url: str, broker_url: str, seconds: float) -> tuple[float, int]:
    """Return the events per second while another process writes at full speed, and the final backlog."""
    redis.Redis.from_url(broker_url).flushall()
    publisher = Publisher(broker_url, "dredge:")
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    writer = context.Process(target=write_until, args=(url, stop))
    with configured(url):
        republish_after_flush(publisher)
        writer.start()
        while not relay(publisher).rows:
            time.sleep(0.005)
        sent, started = 0, time.monotonic()
        while time.monotonic() - started < seconds:
            sent += relay(publisher).events
        rate = sent / (time.monotonic() - started)
        left = outbox.count_unpublished()
        stop.set()
        writer.join()
        return rate, left


def write_until(url: str, stop: Event) -> None:
    """Commit small transactions with events one after the other, as the façade and the collector do."""
    with configured(url):
        while not stop.is_set():
            _record(PER_TRANSACTION)


def _record(count: int) -> None:
    about = {"namespace": "acme", "repository": "app", "repository_id": 1, "hidden": False}
    data = {**about, "tag": "v1", "digest": _DIGEST, "ended_ms": 1, "recoverable_until_ms": 1}
    made = [events.NewEvent(events.TAG_DELETED, "acme/app:v1", data, 1) for _ in range(count)]
    with transaction():
        events.record_all(made, now_ms=now_ms())


def _latencies(lab: Lab, directory: Path) -> Iterator[Figure]:
    """Measure with a worker that enqueues collections but runs none, so that each one can be seen waiting."""
    shape = Shape(
        manifests=4 * DELETIONS, repositories=2 * DELETIONS, expired=0.0, windows_s=(0,), aborted=0.0
    )
    redis.Redis.from_url(lab.servers.broker_url).flushall()
    with lab.clone(shape) as url:
        env = environment(lab, url, directory) | {"DREDGE_SCAN_INTERVAL_S": str(SCAN_S)}
        only = f"--queues={routes.MAINTENANCE_QUEUE}"
        with worker(env, directory / "worker.log", only, concurrency=1), configured(url):
            tags = _tags()
            waits = [_wait(lab, tag.repository_id, partial(_delete, tag)) for tag in tags[:DELETIONS]]
            yield Figure(NAME, "deleted to enqueued, median", statistics.median(waits), "ms", "under 50")
            yield Figure(NAME, "deleted to enqueued, 99 %", _percentile(waits, 99), "ms", "under 200")
            with beat(env, directory / "beat.log"):
                time.sleep(2 * SCAN_S)
                waits = [_wait(lab, tag.repository_id, partial(_end, tag)) for tag in tags[DELETIONS:][:5]]
            aim = f"about one interval: {SCAN_S * 1000:.0f}"
            yield Figure(NAME, "the same without events, worst of 5", max(waits), "ms", aim)


def _tags() -> list[Any]:
    """Return one alive tag of each of many repositories."""
    return fetch(
        "SELECT DISTINCT ON (repository_id) repository_id, id, name FROM tag"
        " WHERE lifetime_end_ms IS NULL AND NOT hidden AND NOT immutable ORDER BY repository_id, id"
    )


def _delete(tag: Any) -> None:
    registry.delete_tag(tag.repository_id, tag.name)


def _end(tag: Any) -> None:
    """End the tag with plain SQL, as software that records no event does."""
    execute("UPDATE tag SET lifetime_end_ms = %s WHERE id = %s", (now_ms(), tag.id))


def _wait(lab: Lab, repository_id: int, change: Callable[[], None]) -> float:
    """Return the milliseconds from the commit of the change until the collection waits in the queue."""
    client = redis.Redis.from_url(lab.servers.broker_url)
    change()
    started = time.monotonic()
    while not client.exists(f"dredge:queued:{repository_id}"):
        if time.monotonic() - started > PATIENCE_S:
            break
        time.sleep(0.001)
    return (time.monotonic() - started) * 1000


def _percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]
