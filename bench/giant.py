"""Collect one giant repository that is all garbage: its memory and its longest transaction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bench.collect import run_collector
from bench.figure import Figure, Options
from bench.lab import Lab, isolated
from worker.local.sample import SHAPES, Shape

NAME = "giant"
TAGS_PER_MANIFEST = 5


def giant(manifests: int) -> Shape:
    """Return a repository of this many manifests with five times as many tags, all of it garbage."""
    return replace(SHAPES["giant"], manifests=manifests, tags=manifests * TAGS_PER_MANIFEST)


def run(options: Options) -> Iterator[Figure]:
    """Yield rates, memory and the longest transaction; `--manifests 200000` gives a million tags."""
    shape = giant(options.manifests)
    with Lab() as lab, lab.clone(shape) as url:
        run = isolated(run_collector, url)
    yield Figure(NAME, "tags removed", run.removed("tag"), "tags")
    yield Figure(NAME, "seconds", run.seconds, "s")
    yield Figure(NAME, "manifests per second", run.manifests_per_s, "manifests/s")
    yield Figure(NAME, "rows per second", run.rows / run.seconds, "rows/s")
    yield Figure(NAME, "statements per manifest", run.statements / max(run.manifests, 1), "statements")
    yield Figure(NAME, "longest transaction", run.longest_s, "s", "under 2")
    yield Figure(NAME, "peak memory", run.rss_mb, "MB")
    yield Figure(NAME, "memory growth", run.rss_growth_mb, "MB", "flat")
