"""Compare real Celery workers with one direct process on the same registry, and measure the fan-out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.collect import ROUNDS
from bench.figure import Figure, Options
from bench.lab import Lab, isolated, peak_rss_mb
from bench.system import new_queue
from bench.ways import directly, through_worker
from worker.local.sample import Shape
from worker.local.sample.shape import registry
from worker.settings import Settings

NAME = "celery_rate"


def run(options: Options) -> Iterator[Figure]:
    """Measure a direct process, one worker process and two, on identical clones; best of several rounds."""
    shape = registry(options.manifests)
    with Lab(valkey=True) as lab, tempfile.TemporaryDirectory(prefix="dredge-bench-") as directory:
        rounds = [_round(lab, shape, Path(directory)) for _ in range(ROUNDS)]
        rates = {processes: max(found[processes] for found in rounds) for processes in rounds[0]}
        yield Figure(NAME, "direct", rates[0], "manifests/s")
        for processes in (1, 2):
            yield Figure(NAME, f"worker with {processes}", rates[processes], "manifests/s")
        yield Figure(NAME, "worker with 2 against direct", rates[2] / rates[0], "times", "at least 0.8")
        yield Figure(NAME, "worker with 2 against 1", rates[2] / rates[1], "times")
        yield from _fan_out(lab.servers.broker_url, options)


def _round(lab: Lab, shape: Shape, directory: Path) -> dict[int, float]:
    """Return manifests per second by number of worker processes; 0 means one process without Celery."""
    rates: dict[int, float] = {}
    together = Settings().batch_repositories
    for processes in (0, 1, 2):
        with lab.clone(shape) as url:
            rates[processes] = (
                through_worker(lab, url, directory, processes=processes, together=together)
                if processes
                else isolated(directly, url, directory, together)
            )
    return rates


def enqueue_many(broker_url: str, count: int) -> tuple[float, float]:
    """Enqueue very many repositories that no worker takes.  Returns seconds, and memory growth in MB."""
    queue = new_queue(broker_url, prefix="fanout:")
    queue.collect(range(1, 2_000))
    before = peak_rss_mb()
    started = time.monotonic()
    queue.collect(range(2_000, count + 2_000))
    return time.monotonic() - started, peak_rss_mb() - before


def _fan_out(broker_url: str, options: Options) -> Iterator[Figure]:
    count = max(20_000, options.manifests)
    seconds, growth = isolated(enqueue_many, broker_url, count)
    yield Figure(NAME, "fan-out", count / seconds, "tasks/s", "above 1,667: 100,000 in a minute")
    yield Figure(NAME, "fan-out: memory growth", growth, "MB", "bounded")
