"""Run several collectors at once on shared base layers: scaling, deadlocks (none may occur), row by row."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench.baseline import run_baseline
from bench.collect import ROUNDS, context
from bench.count import row_counts
from bench.figure import Figure, Options
from bench.lab import Lab, configured, isolated
from model.db.connection import fetch_one
from model.policy import DEFAULT
from worker.jobs.find import find_due
from worker.jobs.to_the_end import collect_many_to_the_end, erase_to_the_end, review_to_the_end
from worker.local.sample.shape import registry

NAME = "concurrent"
# After so many repositories each collector reviews blobs.
PORTION = 20


def collect_share(url: str, number: int, collectors: int, start_at: float) -> None:
    """Collect every n-th due repository, review blobs and erase objects, as one of several processes."""
    tools = context()
    with configured(url):
        due, _, _ = find_due(DEFAULT, after=0, slice=10**9, limit=10**9)
        mine = sorted({found.repository_id for found in due})[number::collectors]
        time.sleep(max(0.0, start_at - time.monotonic()))
        for start in range(0, len(mine), PORTION):
            for _ in collect_many_to_the_end(tools, mine[start : start + PORTION]):
                pass
            for _ in review_to_the_end(tools):
                pass
        for _ in erase_to_the_end(tools):
            pass


def run(options: Options) -> Iterator[Figure]:
    """Measure one, two and four collectors on clones of one registry; best of several rounds in turns."""
    shape = registry(options.manifests)
    rates = dict.fromkeys((1, 2, 4), 0.0)
    deadlocks = dict.fromkeys(rates, 0)
    with Lab() as lab, ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for collectors in list(rates) * ROUNDS:
            with lab.clone(shape) as url:
                manifests, seconds, found = _race(pool, url, collectors)
            rates[collectors] = max(rates[collectors], manifests / seconds)
            deadlocks[collectors] += found
        with lab.clone(shape) as url:
            row_by_row = isolated(run_baseline, url, options.seconds).manifests_per_s
    for collectors, rate in rates.items():
        yield Figure(NAME, f"{collectors} collectors", rate, "manifests/s")
        yield Figure(NAME, f"{collectors} collectors: deadlocks", deadlocks[collectors], "deadlocks", "none")
    yield Figure(NAME, "two against one", rates[2] / rates[1], "times")
    yield Figure(NAME, "four against one", rates[4] / rates[1], "times")
    yield Figure(NAME, "row by row: manifests per second", row_by_row, "manifests/s")
    yield Figure(NAME, "two collectors against row by row", rates[2] / row_by_row, "times", "at least 60")


def _race(pool: ProcessPoolExecutor, url: str, collectors: int) -> tuple[int, float, int]:
    with configured(url):
        before = row_counts()
    start_at = time.monotonic() + 3
    runs = [pool.submit(collect_share, url, n, collectors, start_at) for n in range(collectors)]
    for finished in runs:
        finished.result()
    seconds = time.monotonic() - start_at
    with configured(url):
        left = row_counts()
        deadlocks = fetch_one(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).deadlocks
    return before["manifest"] - left["manifest"], seconds, deadlocks
