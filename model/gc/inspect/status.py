"""The state of the collection: what waits, what fails, what was freed.  Only reads.  Times are in ms."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.clock import now_ms
from model.db.connection import fetch, fetch_one
from model.gc.failing import NO_END

_WAITING = """
SELECT (SELECT count(*) FROM dredge_due WHERE attempts > 0) AS attempted_repositories,
       (SELECT count(*) FROM dredge_manifest_candidate) AS manifest_candidates,
       (SELECT count(*) FROM dredge_blob_candidate) AS blob_candidates,
       (SELECT count(*) FROM dredge_report_debt) AS report_debts,
       (SELECT count(*) FROM dredge_event WHERE published_ms IS NULL) AS unpublished_events,
       t.tombstones, t.tombstone_bytes, t.failing_tombstones, t.oldest_tombstone_ms,
       (SELECT max(moved_ms) FROM dredge_cursor WHERE name = 'find') AS last_scan_ms
FROM (SELECT count(*) AS tombstones, coalesce(sum(size), 0)::bigint AS tombstone_bytes,
             count(*) FILTER (WHERE tries > 0) AS failing_tombstones,
             min(created_ms) AS oldest_tombstone_ms
      FROM dredge_tombstone) t
"""

_FREED = """
SELECT coalesce(n.username, '(objects)') AS namespace, sum(c.tags) AS tags, sum(c.manifests) AS manifests,
       sum(c.blobs) AS blobs, sum(c.objects) AS objects,
       (sum(c.bytes) FILTER (WHERE c.stage = 'review'))::bigint AS bytes
FROM dredge_collection c
LEFT JOIN repository r ON r.id = c.repository_id LEFT JOIN "user" n ON n.id = r.namespace_user_id
WHERE c.finished_ms > %s GROUP BY 1 ORDER BY bytes DESC NULLS LAST, manifests DESC LIMIT %s
"""

_TOTALS = """
SELECT count(DISTINCT repository_id) FILTER (WHERE stage = 'collect') AS repositories,
       coalesce(sum(tags), 0) AS tags, coalesce(sum(manifests), 0) AS manifests,
       coalesce(sum(blobs), 0) AS blobs, coalesce(sum(objects), 0) AS objects,
       coalesce(sum(bytes) FILTER (WHERE stage = 'erase'), 0)::bigint AS bytes
FROM dredge_collection WHERE finished_ms > %s
"""

_FAILURES = """
SELECT coalesce(n.username || '/' || r.name, '#' || d.repository_id) AS repository,
       d.attempts, d.next_try_ms, coalesce(d.last_error, %(no_end)s)
FROM dredge_due d
LEFT JOIN repository r ON r.id = d.repository_id LEFT JOIN "user" n ON n.id = r.namespace_user_id
-- Without an error and at its first attempt, it is being collected.
WHERE d.attempts > 0 AND (d.last_error IS NOT NULL OR d.attempts > 1 OR d.next_try_ms <= %(now_ms)s)
ORDER BY d.attempts DESC, d.repository_id LIMIT %(limit)s
"""

_HISTORY = """
SELECT c.id, c.stage, n.username || '/' || r.name AS repository, c.started_ms, c.finished_ms,
       c.tags, c.manifests, c.blobs, c.objects, c.rows, c.bytes
FROM dredge_collection c
LEFT JOIN repository r ON r.id = c.repository_id LEFT JOIN "user" n ON n.id = r.namespace_user_id
WHERE %(repository_id)s IS NULL OR c.repository_id = %(repository_id)s
ORDER BY c.id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Waiting:
    """Numbers of rows that wait for a stage; times in milliseconds since the epoch, None if nothing waits."""

    attempted_repositories: int
    manifest_candidates: int
    blob_candidates: int
    report_debts: int
    unpublished_events: int
    tombstones: int
    tombstone_bytes: int
    failing_tombstones: int
    oldest_tombstone_ms: int | None
    last_scan_ms: int | None


@dataclass(frozen=True)
class Freed:
    """What was freed for one namespace; erased objects are counted for all namespaces together."""

    namespace: str
    tags: int
    manifests: int
    blobs: int
    objects: int
    bytes: int | None


@dataclass(frozen=True)
class Totals:
    """What was freed in total; `bytes` are those of erased objects."""

    repositories: int
    tags: int
    manifests: int
    blobs: int
    objects: int
    bytes: int


@dataclass(frozen=True)
class Failing:
    """A repository whose collection fails."""

    repository: str
    failures: int
    retry_ms: int
    last_error: str


@dataclass(frozen=True)
class Step:
    """One row of the history."""

    id: int
    stage: str
    repository: str | None
    started_ms: int
    finished_ms: int
    tags: int
    manifests: int
    blobs: int
    objects: int
    rows: int
    bytes: int


def read_waiting() -> Waiting:
    """Return what waits now."""
    return Waiting(*fetch_one(_WAITING))


def read_freed(*, since_ms: int, limit: int) -> list[Freed]:
    """Return what was freed since `since_ms` by namespace, most bytes first."""
    return [Freed(*row) for row in fetch(_FREED, (since_ms, limit))]


def read_totals(*, since_ms: int) -> Totals:
    """Return what was freed since `since_ms`, in total."""
    return Totals(*fetch_one(_TOTALS, (since_ms,)))


def read_failures(*, limit: int) -> list[Failing]:
    """Return at most `limit` failing repositories, most attempts first."""
    return [Failing(*row) for row in fetch(_FAILURES, {"limit": limit, "no_end": NO_END, "now_ms": now_ms()})]


def read_history(*, repository_id: int | None, limit: int) -> list[Step]:
    """Return the latest steps of collections, newest first, of one repository or of all."""
    return [Step(*row) for row in fetch(_HISTORY, {"repository_id": repository_id, "limit": limit})]
