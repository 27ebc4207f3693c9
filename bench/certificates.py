"""The cost of certificates: collections with and without them, in turns, and the time to verify them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import closing
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
ROUNDS = 5


def run_without(url: str) -> Run:
    """Run the block without writing certificates."""

    def nothing(*_: Any) -> dict[str, Any]:
        return certificate.NOTHING

    with mock.patch("model.gc.collect._seal", nothing), mock.patch("model.gc.review._certify", nothing):
        return run_collector(url)


def run(options: Options) -> Iterator[Figure]:
    """Yield ratios of the least and median processor time, bytes per manifest or blob, and verification."""
    shape = registry(options.manifests)
    certified, plain = [], []
    with Lab() as lab:
        for _ in range(ROUNDS):
            with lab.clone(shape) as url:
                certified.append(isolated(run_collector, url))
                size, seconds, dead = _verified(url)
            with lab.clone(shape) as url:
                plain.append(isolated(run_without, url))
            agree("with certificates", certified[-1], "without", plain[-1])
    least = [min(run.cpu_s for run in runs) for runs in (certified, plain)]
    middle = [statistics.median(run.cpu_s for run in runs) for runs in (certified, plain)]
    aim = "at most 1.05"
    yield Figure(NAME, "processor time with against without, least of 5", least[0] / least[1], "times", aim)
    yield Figure(NAME, "processor time with against without, median of 5", middle[0] / middle[1], "times")
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
