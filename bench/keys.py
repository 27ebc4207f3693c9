"""The share of foreign-key checks in a collection and in plain deletes: runs with and without them."""

from __future__ import annotations

from collections.abc import Iterator

from bench.collect import ROUNDS, run_collector
from bench.contest import Run, agree
from bench.figure import Figure, Options
from bench.floor import run_floor
from bench.lab import Lab, isolated
from bench.unique import unique
from worker.local.sample.shape import registry

NAME = "keys"


def run(options: Options) -> Iterator[Figure]:
    """Yield for each shape the part of the processor time that is saved where no foreign key is checked.

    The checks are switched off with `session_replication_role`, which Dredge refuses outside this bench.
    """
    with Lab() as lab:
        for name, shape in (("registry", registry(options.manifests)), ("unique", unique(options.manifests))):
            runs: dict[tuple[str, bool], list[Run]] = {}
            for keys in (True, False) * ROUNDS:
                with lab.clone(shape) as url:
                    runs.setdefault(("collection", keys), []).append(isolated(run_collector, url, keys))
                with lab.clone(shape) as url:
                    runs.setdefault(("floor", keys), []).append(isolated(run_floor, url, True, keys))
            for contender in ("collection", "floor"):
                checked, unchecked = runs[contender, True], runs[contender, False]
                agree("with checks", checked[0], "without", unchecked[0])
                spent = min(run.cpu_s for run in checked)
                saved = spent - min(run.cpu_s for run in unchecked)
                yield Figure(NAME, f"{name}: checks in a {contender}", 100 * saved / spent, "%")
