"""Measure the cost of certificates: batches with and without one in turns, and the verification."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any
from unittest import mock

import psycopg2

from bench.collect import collect_all, context, run_collector
from bench.count import backend_of_this_process, cpu_s
from bench.figure import Figure, Options
from bench.lab import Lab, configured, isolated
from model.gc import certificate, collect, review
from model.verify import Verifier, open_snapshot
from worker.local.sample.shape import registry

NAME = "certificates"
PAIRS = 8


def run(options: Options) -> Iterator[Figure]:
    """Yield the ratio of processor time over all pairs and its quartiles, bytes of each, and verification.

    In a pair, each batch writes a certificate in one of the two runs.  So both sums are of the same batches,
    and other load of the machine affects both equally.
    """
    shape = registry(options.manifests)
    pairs = []
    with Lab() as lab:
        for _ in range(PAIRS):
            spent = [0.0, 0.0]
            for first in (0, 1):
                with lab.clone(shape) as url:
                    one, other = isolated(run_in_turns, url, first)
                spent = [spent[0] + one, spent[1] + other]
            pairs.append((spent[0], spent[1]))
        with lab.clone(shape) as url:
            isolated(run_collector, url)
            size, seconds, dead = _verified(url)
    without, certified = (sum(part) for part in zip(*pairs, strict=True))
    what = "processor time of batches with against without"
    yield Figure(NAME, f"{what}, {PAIRS} pairs of runs", certified / without, "times", "at most 1.05")
    found = quantiles(one / other for other, one in pairs)
    for name, value in zip(("lower quartile", "median", "upper quartile"), found, strict=True):
        yield Figure(NAME, f"{what}, {name} of the pairs", value, "times")
    yield Figure(NAME, "bytes of certificates for each manifest and blob", size / dead, "bytes")
    yield Figure(NAME, "manifests and blobs verified per second", dead / seconds, "1/s")


def run_in_turns(url: str, first: int) -> tuple[float, float]:
    """Collect everything; every second batch of collections and reviews writes no certificate.

    Returns the processor seconds, of client and server, of the batches without one and of those with one.
    """
    spent, numbers = [0.0, 0.0], count(first)
    with configured(url), ExitStack() as patches:
        backend = backend_of_this_process()
        for module, name in ((collect, "_collect_batches"), (review, "_review_batch")):
            timed = partial(_timed, getattr(module, name), backend, numbers, spent)
            patches.enter_context(mock.patch.object(module, name, timed))
        collect_all(context())
    return spent[0], spent[1]


def _timed(
    batch: Callable[..., Any], backend: Path, numbers: Iterator[int], spent: list[float], *arguments: Any
) -> Any:
    certified = next(numbers) % 2
    with ExitStack() as patches:
        if not certified:
            patches.enter_context(mock.patch.object(collect, "_seal", _nothing))
            patches.enter_context(mock.patch.object(review, "_certify", _nothing))
        began = cpu_s(backend)
        done = batch(*arguments)
        spent[certified] += cpu_s(backend) - began
    return done


def _nothing(*_: Any) -> dict[str, Any]:
    return certificate.NOTHING


def _verified(url: str) -> tuple[int, float, int]:
    """Return the bytes of all certificates, the seconds of their verification, and how many they name."""
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
