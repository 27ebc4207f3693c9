"""The collection of a registry with mostly unique layers, in which the review takes as long."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from bench.collect import against_floor, best, compete
from bench.figure import Figure, Options
from bench.lab import Lab
from worker.local.sample import SHAPES

NAME = "unique"
ROUNDS = 3


def run(options: Options) -> Iterator[Figure]:
    """Yield the rate, its ratio to the floor, statements and the longest transaction."""
    base = SHAPES["unique"]
    repositories = max(1, base.repositories * options.manifests // base.manifests)
    shape = dataclasses.replace(base, manifests=options.manifests, repositories=repositories)
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
