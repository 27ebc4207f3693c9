"""The cost of certificates: collections with and without them, in pairs, and the time to verify them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from statistics import quantiles
from typing import Any
from unittest import mock

import psycopg2

from bench.collect import run_collector
from bench.contest import Run, agree
from bench.figure import Figure, Options
from bench.lab import Lab, isolated
from model.gc import certificate
from model.verify import Verifier, open_snapshot
from worker.local.sample.shape import registry

NAME = "certificates"
PAIRS = 10


def run_without(url: str) -> Run:
    """Run the block without writing certificates."""

    def nothing(*_: Any) -> dict[str, Any]:
        return certificate.NOTHING

    with mock.patch("model.gc.collect._seal", nothing), mock.patch("model.gc.review._certify", nothing):
        return run_collector(url)


def run(options: Options) -> Iterator[Figure]:
    """Yield the ratio of processor time over all pairs and its quartiles, bytes of each, and verification.

    The two runs of a pair follow each other, and each comes first in every second pair: so whatever else
    the machine does weighs on both alike.
    """
    shape = registry(options.manifests)
    certified, plain = [], []
    with Lab() as lab:
        for number in range(PAIRS):
            for runs, contender in ((certified, run_collector), (plain, run_without))[:: 1 - number % 2 * 2]:
                with lab.clone(shape) as url:
                    runs.append(isolated(contender, url))
                    if runs is certified:
                        size, seconds, dead = _verified(url)
            agree("with certificates", certified[-1], "without", plain[-1])
    all_of_it = sum(run.cpu_s for run in certified) / sum(run.cpu_s for run in plain)
    ratios = [one.cpu_s / other.cpu_s for one, other in zip(certified, plain, strict=True)]
    aim, what = "at most 1.05", "processor time with against without"
    yield Figure(NAME, f"{what}, sum of {PAIRS} pairs", all_of_it, "times", aim)
    for name, value in zip(("lower quartile", "median", "upper quartile"), quantiles(ratios), strict=True):
        yield Figure(NAME, f"{what}, {name} of the pairs", value, "times")
    yield Figure(NAME, "bytes of certificates for each manifest and blob", size / dead, "bytes")
    yield Figure(NAME, "manifests and blobs verified per second", dead / seconds, "1/s")


def _verified(url: str) -> tuple[int, float, int]:
    started = time.perf_counter()
    with closing(open_snapshot(url)) as connection:
        verdict = Verifier(connection).run()
    seconds = time.perf_counter() - started
    if not verdict:
        raise AssertionError(verdict.problems[0])
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size('dredge_certificate')")
        (size,) = cursor.fetchone() or (0,)
    return int(size), seconds, verdict.manifests + verdict.blobs
