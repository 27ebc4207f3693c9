"""Prometheus metrics of a worker, summed over the processes of its pool; none if the port is 0.

Every process writes into files of one directory, and the main process serves their sum.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from celery.exceptions import Retry

from model.errors import RegistryError
from worker import logs

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

OUTCOMES = ("done", "refused", "retried", "failed")
FREED = ("tags", "manifests", "blobs", "objects", "bytes", "repositories", "namespaces")
# Metric names of Quay's dashboards, and the entry of `FREED` that each counts.
QUAY_TABLES = {"tags": "tag", "manifests": "manifest", "blobs": "imagestorage"}
STAGES = ("collect", "review", "erase")
SECONDS = (0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0)


class Recorded:
    """The metrics.  Labels are task names and the words above, never names from the registry."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, values

        # If the library was imported earlier, it chose its mode before the directory existed.
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
        here = CollectorRegistry()
        self.tasks = Counter("dredge_tasks", "Tasks that ended.", ["task", "outcome"], registry=here)
        self.seconds = Histogram(
            "dredge_task_seconds", "How long tasks ran.", ["task"], buckets=SECONDS, registry=here
        )
        self.freed = Counter("dredge_freed", "What was removed.", ["what"], registry=here)
        self.events = Counter("dredge_events_published", "Events published.", registry=here)
        self.queue_wait = Histogram(
            "dredge_queue_wait_seconds",
            "Wait in a queue.",
            ["queue", "task"],
            buckets=SECONDS,
            registry=here,
        )
        self.batch_seconds = Histogram(
            "dredge_batch_seconds", "How long batches took.", ["stage"], buckets=SECONDS, registry=here
        )
        self.quay = {
            "objects": Counter("quay_gc_storage_blobs_deleted", "Objects erased.", registry=here),
            "repositories": Counter("quay_gc_repos_purged", "Repositories purged.", registry=here),
            "namespaces": Counter("quay_gc_namespaces_purged", "Namespaces purged.", registry=here),
        }
        self.quay_rows = Counter("quay_gc_table_rows_deleted", "Rows deleted.", ["table"], registry=here)
        self.quay_iterations = Counter("quay_gc_iterations", "Collections of a repository.", registry=here)
        kinds = ["kind", "outcome"]
        self.cache = Counter("dredge_cache", "Operations of the cache.", kinds, registry=here)
        self.cache_seconds = Counter(
            "dredge_cache_seconds", "Time of the cache's operations.", kinds, registry=here
        )


_batches = itertools.count(1)
_recorded: Recorded | None = None
_directory = ""


def prepare() -> None:
    """Create the directory of the processes' files; call it in the main process before the fork."""
    global _recorded, _directory
    if _recorded is None:
        _directory = tempfile.mkdtemp(prefix="dredge-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = _directory
        _recorded = Recorded()


def registry() -> CollectorRegistry:
    """Return the sums over the pool's processes; call it in the main process after `prepare`."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    summed = CollectorRegistry()
    MultiProcessCollector(summed, path=_directory)  # type: ignore[no-untyped-call]
    return summed


def stop() -> None:
    """Remove the files.  Idempotent."""
    global _recorded, _directory
    directory, _directory = _directory, ""
    _recorded = None
    if directory:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def task(name: str) -> Iterator[None]:
    """Record one run of a task: its duration, and its outcome (one of `OUTCOMES`)."""
    if _recorded is None:
        yield
        return
    outcome, started = "failed", time.monotonic()
    try:
        yield
        outcome = "done"
    except Retry:
        outcome = "retried"
        raise
    except RegistryError as error:
        outcome = "failed" if error.retryable else "refused"
        raise
    finally:
        _recorded.tasks.labels(name, outcome).inc()
        _recorded.seconds.labels(name).observe(time.monotonic() - started)


def freed(**amounts: int) -> None:
    """Count what a task removed, by the words of `FREED`."""
    if _recorded is not None:
        for what, amount in amounts.items():
            _recorded.freed.labels(what).inc(amount)
            if what in QUAY_TABLES:
                _recorded.quay_rows.labels(QUAY_TABLES[what]).inc(amount)
            elif what in _recorded.quay:
                _recorded.quay[what].inc(amount)


def iterated() -> None:
    """Count one turn of a repository's collection."""
    if _recorded is not None:
        _recorded.quay_iterations.inc()


def waited(queue: str, task: str, seconds: float) -> None:
    """Record how many seconds a message of a task waited in its queue."""
    if _recorded is not None:
        _recorded.queue_wait.labels(queue, task).observe(max(0.0, seconds))


@contextmanager
def batch(stage: str) -> Iterator[None]:
    """Record the duration of a batch of a stage (one of `STAGES`), and bind the stage to its log lines."""
    started = time.monotonic()
    try:
        with logs.bound(batch=f"{stage}-{next(_batches)}"):
            yield
    finally:
        if _recorded is not None:
            _recorded.batch_seconds.labels(stage).observe(time.monotonic() - started)


def published(events: int) -> None:
    """Count events that the relay published."""
    if _recorded is not None:
        _recorded.events.inc(events)


class CacheRecorder:
    """Counts the operations of the data-model cache, by kind of entry and `model.cache.OUTCOMES`."""

    def record(self, kind: str, outcome: str, seconds: float, count: int = 1) -> None:
        """Count `outcome` `count` times, with `seconds` for all of them together."""
        if _recorded is not None:
            _recorded.cache.labels(kind, outcome).inc(count)
            _recorded.cache_seconds.labels(kind, outcome).inc(seconds)
