"""Deleted repositories and namespaces whose grace is over."""

from __future__ import annotations

from model.db.connection import execute, fetch
from model.db.fragments import MARKED_MS
from model.db.tables import RepositoryState
from model.gc.find import Due

_MARKED = int(RepositoryState.MARKED_FOR_DELETION)

# If the purge of a namespace has begun, its repositories are purged at once: the namespace's grace is over.
_REPOSITORIES = f"""
SELECT r.id, coalesce(r.namespace_user_id, 0) AS namespace_id, {MARKED_MS} + %(grace_ms)s AS due_ms
FROM deletedrepository d JOIN repository r ON r.id = d.repository_id AND r.state = {_MARKED}
LEFT JOIN dredge_purge p ON p.kind = 'repository' AND p.subject_id = r.id
WHERE ({MARKED_MS} <= %(now_ms)s - %(grace_ms)s
       OR EXISTS (SELECT FROM dredge_purge o WHERE o.kind = 'namespace'
                  AND o.subject_id = r.namespace_user_id AND o.started_ms IS NOT NULL))
  AND coalesce(p.retry_ms, 0) <= %(now_ms)s
ORDER BY d.marked, r.id LIMIT %(limit)s
"""

_NAMESPACES = f"""
SELECT n.id FROM deletednamespace d JOIN "user" n ON n.id = d.namespace_id AND NOT n.enabled
LEFT JOIN dredge_purge p ON p.kind = 'namespace' AND p.subject_id = n.id
WHERE {MARKED_MS} <= %(now_ms)s - %(grace_ms)s AND coalesce(p.retry_ms, 0) <= %(now_ms)s
ORDER BY d.marked, n.id LIMIT %(limit)s
"""

# Quay writes state and marker in one transaction.  A row that was marked by hand has no marker, and would
# never be purged.
_MARK_UNMARKED = f"""
INSERT INTO deletedrepository (repository_id, marked, original_name)
SELECT r.id, to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC', r.name FROM repository r
WHERE r.state = {_MARKED} AND NOT EXISTS (SELECT FROM deletedrepository d WHERE d.repository_id = r.id)
ON CONFLICT (repository_id) DO NOTHING
"""


def mark_unmarked(*, now_ms: int) -> int:
    """Begin the grace of repositories marked for deletion without a marker row.  Returns how many."""
    return execute(_MARK_UNMARKED, {"now_ms": now_ms})


def find_repositories(*, grace_ms: int, now_ms: int, limit: int) -> list[Due]:
    """Return at most `limit` deleted repositories whose grace is over, longest waiting first; only reads.

    Leaves out failing purges until their next try.
    """
    return [Due(*row) for row in fetch(_REPOSITORIES, _params(grace_ms, now_ms, limit))]


def find_namespaces(*, grace_ms: int, now_ms: int, limit: int) -> list[int]:
    """Return ids of at most `limit` deleted namespaces whose grace is over, oldest first; only reads."""
    return [row.id for row in fetch(_NAMESPACES, _params(grace_ms, now_ms, limit))]


def _params(grace_ms: int, now_ms: int, limit: int) -> dict[str, int]:
    return {"grace_ms": grace_ms, "now_ms": now_ms, "limit": limit}
