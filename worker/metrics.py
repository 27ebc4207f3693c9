"""Prometheus metrics of a worker, over all processes of its pool; nothing at all where the port is 0.

Every process writes into files of one directory, and the main process serves their sum.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.exceptions import Retry

from model.errors import RegistryError
from worker import logs

log = logs.logger("dredge.metrics")

OUTCOMES = ("done", "refused", "retried", "failed")
FREED = ("tags", "manifests", "blobs", "objects", "bytes")
SECONDS = (0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0)


class Recorded:
    """The metrics themselves; labels are task names and the words above, never names of a registry."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, values

        # Whoever imported the library earlier made it choose before there was a directory.
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
        here = CollectorRegistry()
        self.tasks = Counter("dredge_tasks", "Tasks that ended.", ["task", "outcome"], registry=here)
        self.seconds = Histogram(
            "dredge_task_seconds", "How long tasks ran.", ["task"], buckets=SECONDS, registry=here
        )
        self.freed = Counter("dredge_freed", "What was removed.", ["what"], registry=here)
        self.events = Counter("dredge_events_published", "Events published.", registry=here)
        kinds = ["kind", "outcome"]
        self.cache = Counter("dredge_cache", "What the cache did.", kinds, registry=here)
        self.cache_seconds = Counter("dredge_cache_seconds", "How long it took.", kinds, registry=here)


_recorded: Recorded | None = None
_directory = ""
_server: Any = None


def prepare(port: int) -> None:
    """In a worker's main process, before its pool is forked: where all of them will write."""
    global _recorded, _directory
    if port and _recorded is None:
        _directory = tempfile.mkdtemp(prefix="dredge-metrics-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = _directory
        _recorded = Recorded()


def serve(port: int) -> None:
    """Answer scrapes on `port`, in the main process only.  A port that is taken is logged, no more."""
    global _server
    if not port or _recorded is None:
        return
    from prometheus_client import CollectorRegistry, start_http_server
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=_directory)  # type: ignore[no-untyped-call]
    try:
        _server, _ = start_http_server(port, registry=registry)
    except OSError as error:
        log.warning("metrics.not_served", port=port, error=str(error))


def stop() -> None:
    """Give back the port and remove the files; again does nothing."""
    global _server, _recorded, _directory
    server, _server = _server, None
    directory, _directory = _directory, ""
    _recorded = None
    if server is not None:
        server.shutdown()
        server.server_close()
    if directory:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def task(name: str) -> Iterator[None]:
    """Record one run of a task: how long, and with which of `OUTCOMES`."""
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


def published(events: int) -> None:
    """Count events that the relay published."""
    if _recorded is not None:
        _recorded.events.inc(events)


class CacheRecorder:
    """Counts what the data-model cache does, by kind of entry and `model.cache.OUTCOMES`."""

    def record(self, kind: str, outcome: str, seconds: float, count: int = 1) -> None:
        """`count` times `outcome`, which took `seconds` together."""
        if _recorded is not None:
            _recorded.cache.labels(kind, outcome).inc(count)
            _recorded.cache_seconds.labels(kind, outcome).inc(seconds)
