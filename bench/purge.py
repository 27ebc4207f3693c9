"""Purge one giant deleted repository: its rate against the collector's, and what others wait beside it."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.collect import context, run_collector
from bench.contest import Run
from bench.count import counted, row_counts
from bench.fairness import find_giant, waits
from bench.figure import Figure, Options
from bench.giant import giant
from bench.lab import Lab, configured, isolated, peak_rss_mb
from model.db.connection import execute
from model.db.tables import RepositoryState
from worker.broker.task_queue import CeleryQueue
from worker.jobs.to_the_end import erase_to_the_end, purge_to_the_end, review_to_the_end
from worker.local.sample.shape import registry

NAME = "purge"
SMALL = 300

# As a deletion 30 days ago leaves it: the grace is over.
_MARK = f"""
WITH marked AS (
    UPDATE repository SET state = {int(RepositoryState.MARKED_FOR_DELETION)} WHERE id = %(id)s
    RETURNING id, name
)
INSERT INTO deletedrepository (repository_id, marked, original_name)
SELECT id, now() AT TIME ZONE 'UTC' - interval '30 days', name FROM marked
"""


def run(options: Options) -> Iterator[Figure]:
    """Yield rates and the longest transaction; `--manifests 200000` gives a million tags."""
    shape = giant(options.manifests)
    with Lab(valkey=True) as lab, tempfile.TemporaryDirectory(prefix="dredge-bench-") as directory:
        with lab.clone(shape) as url:
            collector = isolated(run_collector, url)
        with lab.clone(shape) as url:
            purge = isolated(run_purge, url)
        yield from _figures(purge, collector)
        shapes = (replace(registry(SMALL * 14), repositories=SMALL * 7 // 5), replace(shape, seed=2))
        alone = waits(lab, shapes, Path(directory), small=SMALL)
        beside = waits(lab, shapes, Path(directory), small=SMALL, start=_start)
    yield from _waiting(alone, beside)


def run_purge(url: str) -> Run:
    """Mark the giant as deleted, then purge, review and erase until nothing is left."""
    tools = context()
    with configured(url):
        execute(_MARK, {"id": find_giant()})
        before = row_counts()
        base_mb = peak_rss_mb()
        with counted() as count:
            for stage in (purge_to_the_end, review_to_the_end, erase_to_the_end):
                for _ in stage(tools):
                    pass
        peak = peak_rss_mb()
        return Run.of(count, before, row_counts(), peak, peak - base_mb)


def _start(queue: CeleryQueue, giant_id: int) -> None:
    execute(_MARK, {"id": giant_id})
    queue.purge([giant_id])


def _figures(purge: Run, collector: Run) -> Iterator[Figure]:
    yield Figure(NAME, "tags removed", purge.removed("tag"), "tags")
    yield Figure(NAME, "seconds", purge.seconds, "s")
    yield Figure(NAME, "manifests per second", purge.manifests_per_s, "manifests/s")
    yield Figure(NAME, "rows per second", purge.rows / purge.seconds, "rows/s")
    ratio = purge.rows / purge.seconds / (collector.rows / collector.seconds)
    yield Figure(NAME, "rate against the collector", ratio, "times", "at least 1")
    if purge.cpu_s:
        ratio = purge.cpu_s / collector.cpu_s
        yield Figure(NAME, "processor time against the collector", ratio, "times", "at most 1")
    yield Figure(NAME, "longest transaction", purge.longest_s, "s", "under 2")
    yield Figure(NAME, "longest transaction of the collector", collector.longest_s, "s")
    yield Figure(NAME, "memory growth", purge.rss_growth_mb, "MB", "flat")


def _waiting(alone: list[float], beside: list[float]) -> Iterator[Figure]:
    for name, found in (("alone", alone), ("beside the purge", beside)):
        yield Figure(NAME, f"{len(found):,} small {name}: median wait", statistics.median(found), "s")
        yield Figure(NAME, f"{len(found):,} small {name}: longest wait", max(found), "s")
    ratio = max(beside) / max(alone)
    yield Figure(NAME, "longest wait beside the purge against alone", ratio, "times", "at most 2")
