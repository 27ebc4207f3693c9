"""Collect a registry in one process, or through a real worker, and erase its objects from a directory."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from pathlib import Path

from bench.collect import context
from bench.count import row_counts
from bench.lab import Lab, configured
from bench.system import Unfinished, fed_worker
from model.db.clock import now_ms
from model.db.connection import fetch, fetch_one
from model.gc.due.note import note_due
from model.policy import DEFAULT
from model.storage_paths import object_path
from worker.jobs.find import find_due
from worker.jobs.to_the_end import collect_many_to_the_end, erase_to_the_end, review_to_the_end
from worker.settings import Settings
from worker.storage.base import Stores
from worker.storage.open import open_store

PATIENCE_S = 300
# Interval in seconds at which the later stages are sent, as beat does, in case a message was lost.
TICK_S = 1.0
EVERY = 10**9

_LEFT = """
SELECT (SELECT count(*) FROM dredge_due WHERE next_try_ms <= %(now_ms)s OR attempts > 0) AS repositories,
       (SELECT count(*) FROM dredge_manifest_candidate) AS manifest_candidates,
       (SELECT count(*) FROM dredge_blob_candidate) AS blob_candidates,
       (SELECT count(*) FROM dredge_tombstone) AS tombstones
"""


def directly(url: str, directory: Path, together: int, most: int = EVERY) -> float:
    """Collect the first `most` due repositories in this process, at most `together` in one transaction.

    Returns manifests per second, from finding to the last erased object.
    """
    with configured(url):
        stock(directory / "objects")
        store = open_store(f"file://{directory}/objects", create=True)
        settings = Settings(quarantine_s=0, batch_repositories=together)
        tools = replace(context(), settings=settings, stores=Stores({"local_us": store}, "local_us"))
        before = row_counts()["manifest"]
        started = time.monotonic()
        due, _, _ = find_due(DEFAULT, after=0, slice=EVERY, limit=most)
        ids = [found.repository_id for found in due[:most]]
        for turns in (collect_many_to_the_end(tools, ids), review_to_the_end(tools), erase_to_the_end(tools)):
            deque(turns, maxlen=0)
        return (before - row_counts()["manifest"]) / (time.monotonic() - started)


def through_worker(
    lab: Lab, url: str, directory: Path, *, processes: int, together: int, most: int = EVERY
) -> float:
    """Collect the first `most` repositories through a worker, from their due rows to the last erased object.

    Returns manifests per second.
    """
    with configured(url):
        stock(directory / "objects")
        before = row_counts()["manifest"]
        due, _, _ = find_due(DEFAULT, after=0, slice=EVERY, limit=most)
    started_worker = fed_worker(
        lab, url, directory, concurrency=processes, DREDGE_BATCH_REPOSITORIES=str(together)
    )
    with started_worker as queue, configured(url):
        started = ticked = time.monotonic()
        note_due({found.repository_id: found.due_ms for found in due[:most]})
        while any(left := fetch_one(_LEFT, {"now_ms": now_ms()})):
            if time.monotonic() - started > PATIENCE_S:
                raise Unfinished(**left._asdict())
            if time.monotonic() - ticked > TICK_S:
                queue.review()
                queue.erase()
                ticked = time.monotonic()
            time.sleep(0.05)
        return (before - row_counts()["manifest"]) / (time.monotonic() - started)


def stock(root: Path) -> None:
    """Write an empty object for each blob of this database."""
    for blob in fetch("SELECT content_checksum AS digest, cas_path, uuid FROM imagestorage"):
        file = root / object_path(blob.digest, blob.cas_path, blob.uuid)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
