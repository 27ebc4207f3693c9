"""Measure how long a deletion waits for its collection while another namespace has very many due."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from bench.figure import Figure
from bench.lab import Lab, configured
from bench.latency import living
from bench.many import many
from bench.system import Unfinished, fed_worker
from model import registry
from model.db.clock import now_ms
from model.db.connection import execute, fetch, fetch_one
from model.gc.due.note import note_due

PROCESSES = 2
SINGLES = 20
# So many have more than twice as many namespaces.
REPOSITORIES = 400
PAUSE_S = 0.2
PATIENCE_S = 60

# Every repository of the flood belongs to the namespace of the first one.
_ONE_OWNER = """
UPDATE repository SET namespace_user_id = (SELECT namespace_user_id FROM repository ORDER BY id LIMIT 1),
       name = name || '-' || id
WHERE id IN (SELECT repository_id FROM tag WHERE lifetime_end_ms IS NOT NULL)
"""
_FLOOD = "SELECT DISTINCT repository_id, lifetime_end_ms FROM tag WHERE lifetime_end_ms IS NOT NULL"
_SINGLES = """
SELECT DISTINCT ON (r.namespace_user_id) t.repository_id, t.name
FROM tag t JOIN repository r ON r.id = t.repository_id
WHERE t.lifetime_end_ms IS NULL AND NOT t.hidden AND NOT t.immutable ORDER BY r.namespace_user_id, t.id
"""
_FINISHED = """
SELECT max(finished_ms) AS ms FROM dredge_collection WHERE stage = 'collect' AND repository_id = %s
"""
_BACKLOG = "SELECT count(*) AS repositories FROM dredge_due WHERE next_try_ms <= %s"


def flood(name: str, repositories: int) -> Iterator[Figure]:
    """Yield the waits without and beside `repositories` due ones of one other namespace, and their ratio."""
    singles = replace(living(REPOSITORIES), repositories=REPOSITORIES, seed=2)
    with (
        Lab(valkey=True, autovacuum=True) as lab,
        tempfile.TemporaryDirectory(prefix="dredge-bench-") as directory,
        lab.clone((many(repositories), singles)) as url,
    ):
        alone, beside = _measure(lab, url, Path(directory))
    about = f"a repository beside {repositories:,} of one namespace"
    for kind, waits in (("alone", alone), ("beside", beside)):
        yield Figure(name, f"{about}: {kind}, median wait", statistics.median(waits), "s")
        yield Figure(name, f"{about}: {kind}, longest wait", max(waits), "s")
    added = statistics.median(beside) / statistics.median(alone) - 1
    yield Figure(name, f"{about}: median delay against wait alone", added, "times", "at most 2")


def _measure(lab: Lab, url: str, directory: Path) -> tuple[list[float], list[float]]:
    with configured(url):
        execute(_ONE_OWNER)
        flooding = {row.repository_id: row.lifetime_end_ms for row in fetch(_FLOOD)}
        singles = [(row.repository_id, row.name) for row in fetch(_SINGLES)]
    with ExitStack() as running:
        running.enter_context(fed_worker(lab, url, directory, concurrency=PROCESSES))
        running.enter_context(configured(url))
        time.sleep(2)  # The worker's threads are connected.
        alone = [_wait(*single) for single in singles[:SINGLES]]
        note_due(flooding)
        while fetch_one(_BACKLOG, (now_ms(),)).repositories > len(flooding) * 0.99:
            time.sleep(0.01)
        beside = []
        for single in singles[SINGLES : 2 * SINGLES]:
            waited = _wait(*single)
            if not fetch_one(_BACKLOG, (now_ms(),)).repositories:
                break
            beside.append(waited)
    if not beside:
        raise Unfinished("the flood was over before the first repository beside it was collected")
    return alone, beside


def _wait(repository_id: int, tag: str) -> float:
    """Delete the only tag of a repository.  Returns the seconds until its collection ended."""
    time.sleep(PAUSE_S)
    started = now_ms()
    registry.delete_tag(repository_id, tag)
    deadline = time.monotonic() + PATIENCE_S
    while (ended := fetch_one(_FINISHED, (repository_id,)).ms) is None:
        if time.monotonic() > deadline:
            raise Unfinished(repository=repository_id)
        time.sleep(0.005)
    return float(ended - started) / 1000
