"""Collect very many repositories with one dead manifest each: one at a time, and together."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.figure import Figure, Options
from bench.lab import Lab, isolated
from bench.ways import directly, through_worker
from worker.local.sample import SHAPES, Shape
from worker.settings import Settings

NAME = "many"
PROCESSES = 2
AIM = "at least 3"


def run(options: Options) -> Iterator[Figure]:
    """Yield repositories per second, and the ratios to one at a time in the same run.

    One at a time is measured on the first tenth of the repositories, and compared by rate.
    """
    shape = many(options.repositories)
    together, tenth = Settings().batch_repositories, options.repositories // 10
    rates: dict[tuple[str, int], float] = {}
    with Lab(valkey=True) as lab, tempfile.TemporaryDirectory(prefix="dredge-bench-") as directory:
        objects = Path(directory)
        for most, parts in ((1, tenth), (together, options.repositories)):
            with lab.clone(shape) as url:
                rates["direct", most] = isolated(directly, url, objects, most, parts)
            with lab.clone(shape) as url:
                rates["worker", most] = through_worker(
                    lab, url, objects, processes=PROCESSES, together=most, most=parts
                )
    for (way, most), rate in rates.items():
        number = "one at a time" if most == 1 else f"at most {most} together"
        yield Figure(NAME, f"{way}, {number}", rate, "repositories/s")
    for way in ("direct", "worker"):
        ratio = rates[way, together] / rates[way, 1]
        yield Figure(NAME, f"{way}, together against one at a time", ratio, "times", AIM)
    ratio = rates["worker", together] / rates["direct", 1]
    yield Figure(NAME, "worker, together against direct, one at a time", ratio, "times", AIM)


def many(repositories: int) -> Shape:
    """Return a registry of this many repositories, each with one dead manifest of ordinary layers."""
    ordinary = Shape()
    return replace(
        SHAPES["wide"],
        manifests=repositories,
        repositories=repositories,
        tags=repositories,
        expired=1.0,
        windows_s=(0,),
        layers_median=ordinary.layers_median,
        layers_p90=ordinary.layers_p90,
    )
