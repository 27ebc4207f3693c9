"""Measure the collection of a registry with mostly unique layers, where the review takes as long."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from bench.collect import against_floor, best, compete
from bench.figure import Figure, Options
from bench.lab import Lab
from worker.local.sample import SHAPES, Shape

NAME = "unique"
ROUNDS = 3


def run(options: Options) -> Iterator[Figure]:
    """Yield the rate, its ratio to the floor, statements and the longest transaction."""
    shape = unique(options.manifests)
    with Lab() as lab:
        rounds = [compete(lab, shape) for _ in range(ROUNDS)]
    collector, floor, _ = (best(runs) for runs in zip(*rounds, strict=True))
    blobs = collector.removed("imagestorage") / max(collector.manifests, 1)
    yield Figure(NAME, "blobs freed for each manifest", blobs, "blobs")
    yield Figure(NAME, "manifests per second", collector.manifests_per_s, "manifests/s")
    yield Figure(NAME, "floor per repository: manifests per second", floor.manifests_per_s, "manifests/s")
    yield from against_floor(NAME, collector, floor, "at most 0.9")
    statements = collector.statements / max(collector.manifests, 1)
    yield Figure(NAME, "statements per manifest", statements, "statements", "at most 0.15")
    yield Figure(NAME, "longest transaction", collector.longest_s, "s", "under 1")


def unique(manifests: int) -> Shape:
    """Return the shape of a registry with this many manifests, whose layers are mostly unique."""
    base = SHAPES["unique"]
    repositories = max(1, base.repositories * manifests // base.manifests)
    return dataclasses.replace(base, manifests=manifests, repositories=repositories)
