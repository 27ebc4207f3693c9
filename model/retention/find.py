"""Find repositories whose retention rules are due, and record each visit."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch
from model.db.introspection import has_table
from model.db.tables import RepositoryState

_NORMAL = int(RepositoryState.NORMAL)

# As in Quay, only repositories in the normal state: rules do not change mirrors and read-only ones.
_IN_SLICE = f"""
WITH slice AS MATERIALIZED (
    SELECT r.id, r.namespace_user_id, r.state FROM repository r
    WHERE r.id > %(after)s ORDER BY r.id LIMIT %(slice)s
), due AS (
    SELECT s.id, s.namespace_user_id AS namespace_id, coalesce(v.last_ran_ms, 0) AS last_ran_ms
    FROM slice s JOIN "user" n ON n.id = s.namespace_user_id AND n.enabled
    LEFT JOIN dredge_retention v ON v.repository_id = s.id
    WHERE s.state = {_NORMAL} AND coalesce(v.last_ran_ms, 0) <= %(now_ms)s - %(interval_ms)s
      AND (%(everywhere)s
           OR EXISTS (SELECT FROM namespaceautoprunepolicy p WHERE p.namespace_id = s.namespace_user_id)
           OR EXISTS (SELECT FROM repositoryautoprunepolicy p WHERE p.repository_id = s.id))
)
SELECT id, namespace_id, last_ran_ms, (SELECT max(id) FROM slice) AS last,
       (SELECT count(*) FROM slice) AS looked FROM due
UNION ALL
SELECT NULL, NULL, NULL, max(id), count(*) FROM slice
"""

_IDS = f"""
SELECT r.id FROM repository r JOIN "user" n ON n.id = r.namespace_user_id AND n.enabled
WHERE r.id > %(after)s AND r.state = {_NORMAL} ORDER BY r.id LIMIT %(limit)s
"""

_RAN = f"""
INSERT INTO dredge_retention (repository_id, last_ran_ms, problems)
VALUES (%(id)s, {NOW_MS_SQL}, nullif(%(problems)s, ''))
ON CONFLICT (repository_id) DO UPDATE SET last_ran_ms = excluded.last_ran_ms, problems = excluded.problems
"""

# Quay's own row for the namespace, so that a live Quay sees that its policies have just run.
_STATUS = f"""
UPDATE autoprunetaskstatus SET last_ran_ms = {NOW_MS_SQL}, status = %(status)s
WHERE namespace_id = %(namespace_id)s
"""

_PROBLEMS = """
SELECT v.repository_id, n.username || '/' || r.name AS repository, v.last_ran_ms, v.problems
FROM dredge_retention v JOIN repository r ON r.id = v.repository_id
JOIN "user" n ON n.id = r.namespace_user_id
WHERE v.problems IS NOT NULL ORDER BY v.last_ran_ms DESC LIMIT %(limit)s
"""

_FORGET = """
DELETE FROM dredge_retention v WHERE NOT EXISTS (SELECT FROM repository r WHERE r.id = v.repository_id)
"""


@dataclass(frozen=True)
class RetentionDue:
    """Repositories to visit, longest waiting first; `last` is the next call's `after`, 0 at the end."""

    repository_ids: tuple[int, ...]
    last: int


@dataclass(frozen=True)
class Problem:
    """Policies of a repository that were skipped, or why its retention stopped."""

    repository_id: int
    repository: str
    last_ran_ms: int
    problems: str


def find_retention_due(
    *, after: int, slice: int, interval_ms: int, everywhere: bool, now_ms: int
) -> RetentionDue:
    """Find repositories in the `slice` after an id whose rules have not run for `interval_ms`; only reads.

    `everywhere`: includes repositories without a policy of Quay.
    """
    params = {"after": after, "slice": slice, "interval_ms": interval_ms, "now_ms": now_ms}
    rows = fetch(_IN_SLICE, {**params, "everywhere": everywhere})
    summary = rows.pop()
    due = sorted(rows, key=lambda row: (row.last_ran_ms, row.id))
    return RetentionDue(tuple(row.id for row in due), 0 if summary.looked < slice else summary.last)


def find_ids(*, after: int, limit: int) -> list[int]:
    """Return ids of at most `limit` repositories after an id to which rules apply, in order; only reads."""
    return [row.id for row in fetch(_IDS, {"after": after, "limit": limit})]


def record_visit(repository_id: int, namespace_id: int, *, problems: str = "") -> None:
    """Note that the rules ran now, and their problems; also in Quay's own row, if it exists."""
    execute(_RAN, {"id": repository_id, "problems": problems[:2000]})
    if has_table("autoprunetaskstatus"):
        status = f"failed: {problems}"[:1000] if problems else "success"
        execute(_STATUS, {"namespace_id": namespace_id, "status": status})


def list_problems(*, limit: int) -> list[Problem]:
    """Return at most `limit` repositories whose last visit had a problem, latest first; only reads."""
    return [Problem(*row) for row in fetch(_PROBLEMS, {"limit": limit})]


def forget_visits() -> int:
    """Delete the visits of repositories that no longer exist.  Returns how many.  Idempotent."""
    return execute(_FORGET)
