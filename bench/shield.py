"""Collect beside a list of 100,000 running digests and without one: the list costs at most 3 %."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from bench.collect import run_collector
from bench.contest import Run, agree
from bench.figure import Figure, Options
from bench.lab import Lab, configured, isolated, vacuum
from model.db.connection import execute
from worker.local.sample.shape import registry

NAME = "shield"
RUNNING = 100_000
ROUNDS = 5

# Digests that are not in the registry: both runs delete the same rows.
_LOAD = f"""
INSERT INTO dredge_in_use (digest)
SELECT 'sha256:' || encode(sha256(convert_to('running ' || n, 'UTF8')), 'hex')
FROM generate_series(1, {RUNNING}) AS n
"""


def run(options: Options) -> Iterator[Figure]:
    """Yield the ratio of processor time with and without the list: of each pair, and their median."""
    shape = registry(options.manifests)
    with Lab() as lab:
        ratios = []
        for n in range(ROUNDS):
            runs: dict[bool, Run] = {}
            # In turns, because the second run of a pair may find warmer caches.
            for has_list in (False, True) if n % 2 else (True, False):
                with lab.clone(shape) as url:
                    with configured(url):
                        if has_list:
                            execute(_LOAD)
                    vacuum(url)
                    runs[has_list] = isolated(run_collector, url)
            agree("with the list", runs[True], "without", runs[False])
            ratios.append(
                runs[True].cpu_s / runs[False].cpu_s
                if runs[False].cpu_s
                else runs[True].seconds / runs[False].seconds
            )
    yield Figure(NAME, "running digests", RUNNING, "digests")
    yield Figure(NAME, "manifests removed", runs[True].manifests, "manifests")
    for name, value in (
        ("median", statistics.median(ratios)),
        ("least", min(ratios)),
        ("greatest", max(ratios)),
    ):
        aim = "at most 1.03" if name == "median" else ""
        yield Figure(NAME, f"processor time with the list against without: {name}", value, "times", aim)
