"""Measure how due repositories are found: garbage that is dense, sparse, skewed, or inside the window."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.contest import Disagreement
from bench.figure import Figure, Options
from bench.lab import Lab, configured
from bench.wide import GARBAGE, WINDOWS_S, Wide, make_garbage
from model.db.clock import now_ms
from model.db.connection import execute, fetch
from model.errors import DatabaseUnavailable
from model.gc.due.waiting import find_waiting
from model.policy import DEFAULT
from worker.jobs.find import find_due

NAME = "finding"
SLICE = 20_000
ROUNDS = 10

# As Quay: one policy (window) after another, with the index on the ends of tags.
_WALK = """
SELECT DISTINCT t.repository_id FROM tag t JOIN repository r ON r.id = t.repository_id
JOIN "user" n ON n.id = r.namespace_user_id
WHERE t.lifetime_end_ms <= %(now_ms)s - %(window_s)s::bigint * 1000
  AND n.removed_tag_expiration_s = %(window_s)s AND n.enabled AND r.state <> 3 LIMIT 500
"""

_DUE = """
INSERT INTO dredge_due (repository_id, namespace_id, due_ms, next_try_ms)
SELECT g, g %% 1000, moment.ms, moment.ms FROM generate_series(1, %(repositories)s) g
CROSS JOIN LATERAL (SELECT %(now_ms)s + CASE WHEN g %% 100 = 0 THEN -g ELSE 86400000 + g END AS ms) moment
"""


def run(options: Options) -> Iterator[Figure]:
    """Measure the first 1,000 due, a whole pass, and Quay's way, for each distribution of garbage.

    On `--manifests` repositories (at least 20,000), ten tags each.
    """
    wide = Wide(max(20_000, options.manifests))
    with Lab() as lab:
        for kind in GARBAGE:
            with lab.clone(wide) as url, configured(url):
                make_garbage(kind, wide)
                execute("CHECKPOINT")
                yield from _measure(kind, wide.repositories)
                yield _walked(kind, options.seconds)
        with lab.clone(None) as url, configured(url):
            yield _from_table(wide.repositories)


def _from_table(repositories: int) -> Figure:
    """Find the first 1,000 in the table of due repositories, where one in a hundred is due; best of ten."""
    execute(_DUE, {"repositories": repositories, "now_ms": now_ms()})
    execute("ANALYZE dredge_due")
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        found = find_waiting(limit=1_000, share=1_000)
        seconds.append(time.perf_counter() - started)
        if len(found) != min(1_000, repositories // 100):
            raise Disagreement(f"{len(found)} were found")
    name = f"table of due repositories: the first 1,000 of {repositories // 100:,} among {repositories:,}"
    return Figure(NAME, name, min(seconds) * 1000, "ms", "under 20")


def _measure(kind: str, repositories: int) -> Iterator[Figure]:
    find_due(DEFAULT, after=0, slice=1_000, limit=1)  # warms the caches of this connection
    started = time.perf_counter()
    due, _, _ = find_due(DEFAULT, after=0, slice=repositories, limit=1_000)
    seconds = time.perf_counter() - started
    if len(due) >= 1_000:
        name = f"{kind}: first 1,000 due of {repositories:,} repositories"
        yield Figure(NAME, name, seconds * 1000, "ms", "under 100")
    started = time.perf_counter()
    position, found, seen, longest = 0, 0, 0, 0.0
    while True:
        step = time.perf_counter()
        batch, position, looked = find_due(DEFAULT, after=position, slice=SLICE, limit=10**9)
        longest = max(longest, time.perf_counter() - step)
        found, seen = found + len(batch), seen + looked
        if not position:
            break
    seconds = time.perf_counter() - started
    if seen != repositories:
        raise Disagreement(f"the pass saw {seen} of {repositories} repositories")
    yield Figure(NAME, f"{kind}: repositories with garbage", found, "repositories")
    yield Figure(NAME, f"{kind}: a whole pass", seconds, "s")
    yield Figure(NAME, f"{kind}: longest slice of {SLICE:,}", longest * 1000, "ms")
    yield Figure(NAME, f"{kind}: per repository looked at", seconds / seen * 1e6, "us")


def _walked(kind: str, patience_s: float) -> Figure:
    """Find the slowest policy's first 500 in Quay's way; cancelled after `patience_s` seconds."""
    slowest = max(_walk(window_s, patience_s) for window_s in WINDOWS_S)
    given_up = " (given up)" if slowest >= patience_s else ""
    return Figure(NAME, f"{kind}: walking tags by their end, slowest policy{given_up}", slowest * 1000, "ms")


def _walk(window_s: int, patience_s: float) -> float:
    execute(f"SET statement_timeout = {round(patience_s * 1000)}")
    started = time.perf_counter()
    try:
        fetch(_WALK, {"now_ms": now_ms(), "window_s": window_s})
    except DatabaseUnavailable:  # The server cancelled the statement.
        return patience_s
    finally:
        execute("RESET statement_timeout")
    return time.perf_counter() - started
