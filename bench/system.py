"""A real worker on a real broker, for benchmarks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from celery import Celery

from bench.lab import Lab
from model.errors import RegistryError
from worker.broker import routes
from worker.broker.task_queue import CeleryQueue


class WorkerFailed(RegistryError):
    """The worker did not start."""


class Unfinished(RegistryError):
    """The workers did not finish their work."""


def environment(lab: Lab, url: str, storage: Path) -> dict[str, str]:
    """Return the environment of a process on the lab's servers and this database."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("DREDGE_")},
        **lab.servers.environment(),
        "DREDGE_DATABASE_URL": url,
        "DREDGE_STORAGE": f"local_us=file://{storage}",
        "DREDGE_QUARANTINE_S": "0",
        "DREDGE_BREAKER_SHARE": "0",
    }


@contextmanager
def worker(env: dict[str, str], log: Path, *options: str, concurrency: int) -> Iterator[int]:
    """Start `celery -A worker worker`, wait until it is ready, and stop it at the end.  Yields its PID."""
    with _celery(env, log, "worker", "--loglevel=info", f"--concurrency={concurrency}", *options) as process:
        _wait_until_ready(process, log)
        yield process.pid


@contextmanager
def fed_worker(
    lab: Lab, url: str, directory: Path, *, concurrency: int, **settings: str
) -> Iterator[CeleryQueue]:
    """Start a worker with these variables on this database, with an empty broker.  Yields its queue.

    Its storage is the folder `objects` of the directory.
    """
    objects = directory / "objects"
    objects.mkdir(exist_ok=True)
    redis.Redis.from_url(lab.servers.broker_url).flushall()
    env = {**environment(lab, url, objects), **settings}
    with worker(env, directory / "worker.log", concurrency=concurrency):
        yield new_queue(lab.servers.broker_url)


def new_queue(broker_url: str, prefix: str = "dredge:") -> CeleryQueue:
    """Return a queue like the workers'."""
    app = Celery("bench", broker=broker_url)
    app.conf.task_queues = routes.task_queues(broker_url)
    app.conf.task_routes = {task: {"queue": queue} for task, queue in routes.QUEUE_OF.items()}
    app.conf.broker_transport_options = routes.transport_options(broker_url, prefix)
    client = redis.Redis.from_url(broker_url)
    return CeleryQueue(app, client, prefix=prefix, believed_ms=60_000)


@contextmanager
def beat(env: dict[str, str], log: Path) -> Iterator[int]:
    """Start `celery -A worker beat`.  Yields its process ID; stops it at the end."""
    with _celery(env, log, "beat") as process:
        yield process.pid


@contextmanager
def _celery(env: dict[str, str], log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "worker", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while b" ready." not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            raise WorkerFailed(log.read_text(errors="replace")[-1000:])
        time.sleep(0.02)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    return [pid, *(found for found, owner, _ in _processes() if owner == pid)]


def rss_mb(pid: int) -> list[float]:
    """Return the resident memory of a process and its children, in MB; the process first."""
    rows = _processes()
    parent = [rss / 1024 for found, _, rss in rows if found == pid]
    return parent + sorted(rss / 1024 for _, owner, rss in rows if owner == pid)


def _processes() -> list[tuple[int, int, int]]:
    """Return (process, parent, resident memory in KB) of every process."""
    output = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split() for line in output.splitlines()]
    return [(int(pid), int(owner), int(rss)) for pid, owner, rss in rows]
