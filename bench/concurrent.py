"""Run several collectors at once on shared base layers: their scaling, and deadlocks (none may occur)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench.collect import ROUNDS, context
from bench.count import row_counts
from bench.figure import Figure, Options
from bench.lab import Lab, configured
from model.db.connection import fetch_one
from model.policy import DEFAULT
from worker.jobs.find import find_due
from worker.jobs.to_the_end import collect_to_the_end, review_to_the_end
from worker.local.sample.shape import registry

NAME = "concurrent"


def collect_share(url: str, number: int, collectors: int, start_at: float) -> None:
    """Collect every n-th due repository, and review blobs, as one of several processes."""
    tools = context()
    with configured(url):
        due, _, _ = find_due(DEFAULT, after=0, slice=10**9, limit=10**9)
        mine = sorted({found.repository_id for found in due})[number::collectors]
        time.sleep(max(0.0, start_at - time.monotonic()))
        for count, repository_id in enumerate(mine, start=1):
            for _ in collect_to_the_end(tools, repository_id):
                pass
            if count % 20 == 0:
                for _ in review_to_the_end(tools):
                    pass
        for _ in review_to_the_end(tools):
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
    for collectors, rate in rates.items():
        yield Figure(NAME, f"{collectors} collectors", rate, "manifests/s")
        yield Figure(NAME, f"{collectors} collectors: deadlocks", deadlocks[collectors], "deadlocks", "none")
    yield Figure(NAME, "two against one", rates[2] / rates[1], "times")
    yield Figure(NAME, "four against one", rates[4] / rates[1], "times")


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
