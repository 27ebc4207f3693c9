"""Measure how long small repositories of other tenants wait beside one giant, or beside very many."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.figure import Figure, Options
from bench.flood import flood
from bench.giant import giant
from bench.lab import Lab, configured
from bench.system import Unfinished, fed_worker
from model.db.connection import fetch, fetch_one
from model.policy import DEFAULT
from worker.broker.task_queue import CeleryQueue
from worker.jobs.find import find_due
from worker.local.sample import Shape
from worker.local.sample.shape import registry

NAME = "fairness"
PROCESSES = 2
SMALL = 1_000
FLOOD = 10_000
PATIENCE_S = 600
_FINISHED = """
SELECT repository_id, max(finished_ms) AS finished_ms FROM dredge_collection
WHERE stage = 'collect' AND repository_id = ANY(%s) GROUP BY 1
"""


def run(options: Options) -> Iterator[Figure]:
    """Yield the waiting times with the giant first in the queue and without it; then those of `flood`."""
    large = replace(giant(options.manifests), seed=2)
    small = replace(registry(SMALL * 14), repositories=SMALL * 7 // 5)
    with Lab(valkey=True) as lab, tempfile.TemporaryDirectory(prefix="dredge-bench-") as directory:
        alone = waits(lab, (small, large), Path(directory))
        beside = waits(lab, (small, large), Path(directory), start=_collect)
    for name, found in (("alone", alone), ("beside a giant", beside)):
        yield Figure(NAME, f"{len(found):,} small {name}: median wait", statistics.median(found), "s")
        yield Figure(NAME, f"{len(found):,} small {name}: longest wait", max(found), "s")
    ratio = statistics.median(beside) / statistics.median(alone)
    yield Figure(NAME, "median wait beside a giant against alone", ratio, "times", f"at most {PROCESSES}")
    ratio = max(beside) / max(alone)
    yield Figure(NAME, "longest wait beside a giant against alone", ratio, "times", f"at most {PROCESSES}")
    yield from flood(NAME, min(FLOOD, options.manifests))


def waits(
    lab: Lab,
    shapes: tuple[Shape, ...],
    directory: Path,
    *,
    small: int = SMALL,
    start: Callable[[CeleryQueue, int], None] | None = None,
) -> list[float]:
    """Return the seconds from enqueueing to the end of each small repository's collection.

    `start` begins the work on the giant, which has its queue and its id, a second before.
    """
    with lab.clone(shapes) as url:
        with configured(url):
            due, _, _ = find_due(DEFAULT, after=0, slice=10**9, limit=10**9)
            giant_id = find_giant()
        others = sorted({found.repository_id for found in due} - {giant_id})[:small]
        with fed_worker(lab, url, directory, concurrency=PROCESSES) as queue, configured(url):
            if start is not None:
                start(queue, giant_id)
                time.sleep(1)  # The worker begins the giant before the others are enqueued.
            started_ms = time.time() * 1000
            queue.collect(others)
            finished = _finished(others)
        return sorted((ended_ms - started_ms) / 1000 for ended_ms in finished)


def find_giant() -> int:
    """Return the id of the repository with the most tags."""
    row = fetch_one("SELECT repository_id AS id FROM tag GROUP BY 1 ORDER BY count(*) DESC LIMIT 1")
    return int(row.id)


def _collect(queue: CeleryQueue, giant_id: int) -> None:
    queue.collect([giant_id])


def _finished(small: Sequence[int]) -> list[int]:
    """Wait until all are collected.  Returns the time of each."""
    given_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < given_up:
        rows = fetch(_FINISHED, (list(small),))
        if len(rows) == len(small):
            return [row.finished_ms for row in rows]
        time.sleep(0.2)
    raise Unfinished(collected=len(rows), repositories=len(small))
