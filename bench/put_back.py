"""Measure how long a blob is unreadable if a Quay commits its row late, while its object is in the trash."""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import redis

from bench.figure import Figure, Options
from bench.lab import Lab, configured
from bench.system import Unfinished, beat, environment, new_queue, worker
from model.db.connection import execute
from model.storage_paths import object_path
from worker.storage.base import Store
from worker.storage.open import open_store

NAME = "put_back"
OBJECTS = 20
# Beat's interval in seconds is this many times `--seconds`: 30 by default, as in a deployment.
INTERVALS = 3
PATIENCE_S = 300
_TOMBSTONES = """
INSERT INTO dredge_tombstone (digest, path, location, size, created_ms, due_ms)
SELECT d.digest, d.path, 'local_us', 1, 0, 0 FROM unnest(%s::text[], %s::text[]) AS d (digest, path)
"""
# As Quay writes the row: without a lock or a check of tombstones, and `uploading` stays true.
_ROW = """
WITH made AS (
    INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)
    VALUES (%(uuid)s, 1, true, true, %(digest)s) RETURNING id
)
INSERT INTO imagestorageplacement (storage_id, location_id)
SELECT made.id, l.id FROM made, imagestoragelocation l WHERE l.name = 'local_us'
"""


def run(options: Options) -> Iterator[Figure]:
    """Yield the delays with a real worker and beat.  The rows come at every phase of beat's interval."""
    interval_s = max(1.0, INTERVALS * options.seconds)
    with (
        Lab(valkey=True) as lab,
        tempfile.TemporaryDirectory(prefix="dredge-bench-") as name,
        lab.clone(None) as url,
    ):
        directory = Path(name)
        redis.Redis.from_url(lab.servers.broker_url).flushall()
        store = open_store(f"file://{directory}/objects", create=True)
        env = environment(lab, url, directory / "objects") | {
            "DREDGE_QUARANTINE_S": "86400",
            "DREDGE_SCAN_INTERVAL_S": str(interval_s),
        }
        with (
            configured(url),
            worker(env, directory / "worker.log", concurrency=2),
            beat(env, directory / "beat.log"),
        ):
            paths = _set_aside(store, lab.servers.broker_url)
            delays = _commit_late(store, paths, interval_s / OBJECTS)
    yield Figure(
        NAME,
        f"{len(delays)} late rows: median time until the blob is readable",
        statistics.median(delays),
        "s",
    )
    yield Figure(
        NAME, "longest time until the blob is readable", max(delays), "s", "the scan interval and the task"
    )


def _set_aside(store: Store, broker_url: str) -> dict[str, str]:
    """Write objects and their tombstones, and wait until all are in the trash.  Returns digest -> path."""
    digests = [f"sha256:{hashlib.sha256(str(n).encode()).hexdigest()}" for n in range(OBJECTS)]
    paths = {digest: object_path(digest, True, "") for digest in digests}
    for path in paths.values():
        store.write(path, [b"x"])
    execute(_TOMBSTONES, (list(paths), list(paths.values())))
    new_queue(broker_url).erase()
    deadline = time.monotonic() + PATIENCE_S
    while any(store.size(path) is not None for path in paths.values()):
        if time.monotonic() > deadline:
            raise Unfinished(in_their_places=sum(store.size(path) is not None for path in paths.values()))
        time.sleep(0.05)
    return paths


def _commit_late(store: Store, paths: dict[str, str], apart_s: float) -> list[float]:
    """Commit one row after the other.  Returns for each the seconds until its object is readable."""
    waiting: dict[str, float] = {}
    delays: list[float] = []
    todo = list(paths)
    started = time.monotonic()
    while len(delays) < len(paths):
        now = time.monotonic()
        if todo and now >= started + apart_s * (len(paths) - len(todo)):
            digest = todo.pop()
            execute(_ROW, {"uuid": str(uuid.uuid4()), "digest": digest})
            waiting[digest] = time.monotonic()
        back = [digest for digest in waiting if store.size(paths[digest]) is not None]
        delays += [time.monotonic() - waiting.pop(digest) for digest in back]
        if now > started + PATIENCE_S:
            raise Unfinished(unreadable=len(waiting))
        time.sleep(0.02)
    return delays
