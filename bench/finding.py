"""Finding repositories with garbage: dense, sparse, and hidden behind tags still inside their window."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from bench.contest import Disagreement
from bench.figure import Figure, Options
from bench.lab import Lab, configured
from model.clock import now_ms
from model.database import fetch
from model.policy import DEFAULT
from worker.jobs.find import find_due
from worker.sample import SHAPES
from worker.sample.shape import DAY_S

NAME = "finding"
TAGS = 10

# The existing way: one policy (window) after another, through the index on the tags' ends.
_WALK = """
SELECT DISTINCT t.repository_id FROM tag t JOIN repository r ON r.id = t.repository_id
JOIN "user" n ON n.id = r.namespace_user_id
WHERE t.lifetime_end_ms <= %(now_ms)s - %(window_s)s * 1000 AND n.removed_tag_expiration_s = %(window_s)s
  AND n.enabled AND r.state <> 3 LIMIT 500
"""


def run(options: Options) -> Iterator[Figure]:
    """The first 1,000 due, a whole pass, and the existing way, on at least 20,000 repositories."""
    repositories = max(20_000, options.manifests)
    for density, expired in (("dense", 0.5), ("sparse", 0.0005)):
        shape = replace(
            SHAPES["wide"],
            manifests=repositories,
            repositories=repositories,
            tags=repositories * TAGS,
            expired=expired,
            windows_s=(0, DAY_S, 14 * DAY_S),
        )
        with Lab() as lab, lab.clone(shape) as url, configured(url):
            yield from _measure(density, repositories)


def _measure(density: str, repositories: int) -> Iterator[Figure]:
    find_due(DEFAULT, after=0, slice=1_000, limit=1)  # warms the caches of this connection
    started = time.perf_counter()
    due, _, looked = find_due(DEFAULT, after=0, slice=repositories, limit=1_000)
    seconds = time.perf_counter() - started
    name = f"{density}: first {min(len(due), 1_000):,} due of {repositories:,} repositories"
    yield Figure(NAME, name, seconds * 1000, "ms", "under 100" if len(due) >= 1_000 else "")
    started = time.perf_counter()
    position, found, seen = 0, 0, 0
    longest = 0.0
    while True:
        step = time.perf_counter()
        batch, position, looked = find_due(DEFAULT, after=position, slice=20_000, limit=10**9)
        longest = max(longest, time.perf_counter() - step)
        found, seen = found + len(batch), seen + looked
        if not position:
            break
    seconds = time.perf_counter() - started
    if seen != repositories:
        raise Disagreement(f"the pass saw {seen} of {repositories} repositories")
    yield Figure(NAME, f"{density}: repositories with garbage", found, "repositories")
    yield Figure(NAME, f"{density}: a whole pass", seconds, "s")
    yield Figure(NAME, f"{density}: longest slice of 20,000", longest * 1000, "ms")
    yield Figure(NAME, f"{density}: per repository looked at", seconds / seen * 1e6, "us")
    slowest = max(_walk(window) for window in (0, DAY_S, 14 * DAY_S))
    yield Figure(NAME, f"{density}: walking tags by their end, slowest policy", slowest * 1000, "ms")


def _walk(window_s: int) -> float:
    started = time.perf_counter()
    fetch(_WALK, {"now_ms": now_ms(), "window_s": window_s})
    return time.perf_counter() - started
