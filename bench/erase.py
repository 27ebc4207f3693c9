"""Erase objects: the local store against a loop of unlinks, S3 in bulk against one object at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from bench.collect import context
from bench.figure import Figure, Options
from bench.lab import Lab, configured
from bench.limited import limited
from model.db.connection import execute
from model.errors import RegistryError
from worker.jobs.to_the_end import erase_to_the_end
from worker.local.servers.base import free_port
from worker.settings import Settings
from worker.storage.base import Store, Stores
from worker.storage.open import open_store

NAME = "erase"
_ONE_BY_ONE = 150


class NotErased(RegistryError):
    """Objects were left behind, so the time says nothing."""


def run(options: Options) -> Iterator[Figure]:
    """Yield objects per second of the local store, of the whole eraser, and of S3."""
    paths = [_path(n) for n in range(max(2_000, options.manifests))]
    directory = Path(tempfile.mkdtemp(prefix="dredge-bench-"))
    try:
        yield from _local(directory, paths)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    with _s3() as store:
        yield from _bulk(store, paths[:3_000])
    yield from limited(NAME, options.seconds)


def _path(n: int) -> str:
    digits = hashlib.sha256(str(n).encode()).hexdigest()
    return f"sha256/{digits[:2]}/{digits}"


def _local(directory: Path, paths: list[str]) -> Iterator[Figure]:
    _write_files(directory / "plain", paths)
    started = time.perf_counter()
    for path in paths:
        os.unlink(f"{directory}/plain/{path}")  # noqa: PTH108 (the yardstick)
    plain = len(paths) / (time.perf_counter() - started)
    yield Figure(NAME, "os.unlink in a loop", plain, "objects/s")

    _write_files(directory / "store", paths)
    store = open_store(f"file://{directory}/store", create=True)
    started = time.perf_counter()
    for start in range(0, len(paths), 1_000):
        store.erase(paths[start : start + 1_000])
    rate = len(paths) / (time.perf_counter() - started)
    yield Figure(NAME, "local store", rate, "objects/s")
    yield Figure(NAME, "local store against os.unlink", rate / plain, "times")

    _write_files(directory / "tombstones", paths)
    store = open_store(f"file://{directory}/tombstones", create=True)
    seconds = _with_tombstones(store, paths, quarantine_s=0)
    yield Figure(NAME, "local store with tombstones", len(paths) / seconds, "objects/s")

    _write_files(directory / "quarantine", paths)
    store = open_store(f"file://{directory}/quarantine", create=True)
    aside = _with_tombstones(store, paths, quarantine_s=86_400)
    yield Figure(NAME, "local store into quarantine", len(paths) / aside, "objects/s")
    yield Figure(NAME, "into quarantine against erasing at once", seconds / aside, "times", "above 0.5")


def _with_tombstones(store: Store, paths: list[str], *, quarantine_s: int) -> float:
    """Run the whole eraser: claim, check references, erase or set aside, settle, history, event."""
    settings = Settings(quarantine_s=quarantine_s)
    tools = replace(context(), stores=Stores({"local_us": store}, "local_us"), settings=settings)
    with Lab() as lab, lab.clone(None) as url, configured(url):
        execute(
            "INSERT INTO dredge_tombstone (digest, path, location, size, created_ms, due_ms)"
            " SELECT 'sha256:' || split_part(p, '/', 3), p, 'local_us', 1, 0, 0 FROM unnest(%s) AS p",
            (paths,),
        )
        started = time.perf_counter()
        for _ in erase_to_the_end(tools):
            pass
        seconds = time.perf_counter() - started
    if next(iter(store.list()), None):
        raise NotErased("tombstones were settled and their objects are there")
    return seconds


def _write_files(root: Path, paths: list[str]) -> None:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def _bulk(store: Store, paths: list[str]) -> Iterator[Figure]:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda path: store.write(path, (b"x",)), paths))
    single, rest = paths[:_ONE_BY_ONE], paths[_ONE_BY_ONE:]
    started = time.perf_counter()
    for path in single:
        store.erase([path])
    one_by_one = len(single) / (time.perf_counter() - started)
    started = time.perf_counter()
    results = store.erase(rest)
    bulk = len(rest) / (time.perf_counter() - started)
    if any(result.error for result in results):
        raise NotErased(next(result.error for result in results if result.error))
    yield Figure(NAME, "S3 one at a time", one_by_one, "objects/s")
    yield Figure(NAME, "S3 in bulk, parallel", bulk, "objects/s")
    yield Figure(NAME, "S3 bulk against one at a time", bulk / one_by_one, "times", "above 20")


@contextmanager
def _s3() -> Iterator[Store]:
    """Start an S3 server in a process of its own.  Yields a bucket."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _make_bucket(f"http://127.0.0.1:{port}/bench")
        endpoint = f"http://127.0.0.1:{port}"
        yield open_store(f"s3://bench/objects?endpoint={endpoint}&region=us-east-1&timeout=60")
    finally:
        server.terminate()
        server.wait()


def _make_bucket(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()
            return
        except urllib.error.URLError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
