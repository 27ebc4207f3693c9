"""Measure the time from the deletion of a tag until its object is gone, and the load of idle workers."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.figure import Figure, Options
from bench.lab import Lab, configured
from bench.system import Unfinished, beat, environment, family, worker
from bench.ways import stock
from model import registry
from model.db.connection import fetch
from model.storage_paths import object_path
from worker.local.sample import SHAPES, Shape

NAME = "latency"
PROCESSES = 2
PER_S = 100
PATIENCE_S = 60
# The first ticks of beat and the first task of each process are over after this time.
WARM_S = 10
# How often the objects are looked for, in seconds.
LOOK_S = 0.01

# One blob of each living tag that no other manifest has.
_TAGS = """
SELECT DISTINCT ON (t.id) t.repository_id, t.name, b.content_checksum AS digest, b.cas_path, b.uuid
FROM tag t JOIN manifestblob mb ON mb.manifest_id = t.manifest_id JOIN imagestorage b ON b.id = mb.blob_id
WHERE t.lifetime_end_ms IS NULL AND NOT t.hidden AND NOT t.immutable
  AND NOT EXISTS (SELECT FROM manifestblob o WHERE o.blob_id = b.id AND o.manifest_id <> t.manifest_id)
  AND NOT EXISTS (SELECT FROM tag o WHERE o.manifest_id = t.manifest_id AND o.id <> t.id)
ORDER BY t.id
"""


@dataclass
class Watch:
    """Looks repeatedly which objects are gone.  `waits` has the seconds that each took."""

    waits: list[float] = field(default_factory=list)
    waiting: dict[Path, float] = field(default_factory=dict)

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while not stop.wait(LOOK_S):
            for path, since in list(self.waiting.items()):
                if not os.path.exists(path):  # noqa: PTH110 (thousands of paths in each look)
                    self.waits.append(time.monotonic() - since)
                    del self.waiting[path]


def run(options: Options) -> Iterator[Figure]:
    """Yield median and 99 % of a hundred deletions per second, with and without quarantine, and idle shares.

    `--seconds 60` deletes for a minute.
    """
    shape = living(round(PER_S * options.seconds))
    with Lab(valkey=True, autovacuum=True) as lab:
        for name, quarantine in (("gone", "0"), ("off its path, quarantine on", "")):
            with tempfile.TemporaryDirectory(prefix="dredge-bench-") as directory, lab.clone(shape) as url:
                yield from _measure(lab, url, Path(directory), name, quarantine, options.seconds)


def living(images: int) -> Shape:
    """Return a registry of this many images with one living tag each, and with no recovery window."""
    return replace(
        SHAPES["unique"],
        manifests=images,
        repositories=max(1, images // 20),
        tags=images,
        expired=0.0,
        windows_s=(0,),
    )


def _measure(
    lab: Lab, url: str, directory: Path, name: str, quarantine: str, seconds: float
) -> Iterator[Figure]:
    objects = directory / "objects"
    with configured(url):
        stock(objects)
    env = environment(lab, url, objects) | {"DREDGE_QUARANTINE_S": quarantine}
    with ExitStack() as running:
        pid = running.enter_context(worker(env, directory / "worker.log", concurrency=PROCESSES))
        beat_pid = running.enter_context(beat(env, directory / "beat.log"))
        running.enter_context(configured(url))
        time.sleep(WARM_S)
        shares = idle_shares((family(pid), [beat_pid]), seconds)
        waits, rate = delete_and_wait(objects, fetch(_TAGS), seconds)
    yield Figure(NAME, f"{name}: deletions", rate, "deletions/s", str(PER_S))
    yield Figure(NAME, f"{name}: median", waits[len(waits) // 2], "s", "at most 1")
    yield Figure(NAME, f"{name}: 99 %", waits[len(waits) * 99 // 100], "s", "at most 3")
    for kind, share in zip(("idle worker, all its processes", "idle beat"), shares, strict=True):
        yield Figure(NAME, f"{name}: {kind}", share * 100, "% of a core", "at most 1")


def delete_and_wait(objects: Path, tags: list[Any], seconds: float) -> tuple[list[float], float]:
    """Delete tags at the fixed rate and wait for their objects.

    Returns the sorted waits in seconds, and the reached deletions per second.
    """
    watch, stop = Watch(), threading.Event()
    thread = threading.Thread(target=watch.run, args=(stop,), daemon=True)
    thread.start()
    chosen = tags[: round(PER_S * seconds)]
    started = time.monotonic()
    for n, tag in enumerate(chosen):
        time.sleep(max(0.0, started + n / PER_S - time.monotonic()))
        registry.delete_tag(tag.repository_id, tag.name)
        watch.waiting[objects / object_path(tag.digest, tag.cas_path, tag.uuid)] = time.monotonic()
    rate = len(chosen) / (time.monotonic() - started)
    deadline = time.monotonic() + PATIENCE_S
    while watch.waiting and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    stop.set()
    thread.join()
    if watch.waiting:
        raise Unfinished(objects_left=len(watch.waiting))
    return sorted(watch.waits), rate


def idle_shares(groups: tuple[list[int], ...], seconds: float) -> list[float]:
    """Return for each group of processes the share of a core that it uses while nothing happens."""
    before, started = [_cpu_s(group) for group in groups], time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - started
    return [(_cpu_s(group) - was) / elapsed for group, was in zip(groups, before, strict=True)]


def _cpu_s(pids: list[int]) -> float:
    """Return the processor seconds of all threads of these processes."""
    threads = (path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9
