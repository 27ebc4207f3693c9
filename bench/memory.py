"""Measure the memory of a worker's processes and of `dredge status`, and the time to the first task."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure, Options
from bench.lab import Lab, configured
from bench.system import Unfinished, environment, new_queue, rss_mb, worker
from model.db.connection import fetch_one
from model.policy import DEFAULT
from worker.jobs.find import find_due
from worker.local.sample.shape import registry

NAME = "memory"
_STATUS_RUNS = 3


def run(options: Options) -> Iterator[Figure]:
    """Measure on the ordinary registry of the requested size."""
    shape = registry(options.manifests)
    with (
        Lab(valkey=True) as lab,
        tempfile.TemporaryDirectory(prefix="dredge-bench-") as directory,
        lab.clone(shape) as url,
    ):
        env = environment(lab, url, Path(directory) / "objects")
        yield from _status(env)
        with configured(url):
            due, _, _ = find_due(DEFAULT, after=0, slice=10**9, limit=10)
            new_queue(lab.servers.broker_url).collect([due[0].repository_id])
        yield from _start(env, url, Path(directory))


def _status(env: dict[str, str]) -> Iterator[Figure]:
    command = [sys.executable, "-c", "from worker.cli import main; main(['status', '--json'])"]
    nothing = [sys.executable, "-c", "pass"]
    yield Figure(NAME, "dredge status", _fastest(command, env), "s", "under 0.3")
    yield Figure(NAME, "the interpreter alone", _fastest(nothing, env), "s")


def _fastest(command: list[str], env: dict[str, str]) -> float:
    found = []
    for _ in range(_STATUS_RUNS):
        started = time.perf_counter()
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - started)
    return min(found)


def _start(env: dict[str, str], url: str, directory: Path) -> Iterator[Figure]:
    started = time.monotonic()
    with worker(env, directory / "worker.log", concurrency=2) as pid, configured(url):
        yield Figure(NAME, "cold start to ready", time.monotonic() - started, "s")
        while not fetch_one("SELECT EXISTS (SELECT FROM dredge_collection) AS done").done:
            if time.monotonic() - started > 60:
                raise Unfinished("no task was done within a minute")
            time.sleep(0.01)
        yield Figure(NAME, "cold start to the first collection", time.monotonic() - started, "s")
        parent, *children = rss_mb(pid)
        yield Figure(NAME, "worker's main process", parent, "MB")
        yield Figure(NAME, "worker's pool process", max(children, default=0.0), "MB")
