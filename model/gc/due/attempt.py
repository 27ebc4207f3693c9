"""Attempts at collecting a repository, counted before the work.

Its row has the attempt before the work begins.  So after an error, a time limit, a kill or too little memory
the repository is tried again later, `dredge status` shows it, and other repositories do not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model.db.clock import NOW_MS_SQL
from model.db.connection import IntArray, execute, transaction
from model.db.prepared import run
from model.db.tables import RepositoryState
from model.gc.due.note import NEVER_MS
from model.gc.failing import tell_failing_row
from model.policy import HOUR_MS

_MARKED = int(RepositoryState.MARKED_FOR_DELETION)
FIRST_RETRY_MS = 30_000
LAST_RETRY_MS = 24 * HOUR_MS
NO_END = "The last attempt did not end: its process was killed, or ran out of memory or of time"

_BACKOFF_MS = f"least({LAST_RETRY_MS}, {FIRST_RETRY_MS} * power(2, least(d.attempts, 20)))::bigint"
_ATTEMPTED = f"""
attempts = d.attempts + 1, queued_ms = NULL, next_try_ms = {NOW_MS_SQL} + {_BACKOFF_MS},
last_error = CASE WHEN d.attempts > 0 THEN coalesce(d.last_error, '{NO_END}') ELSE d.last_error END
"""

_CLAIM = f"""
INSERT INTO dredge_due AS d (repository_id, namespace_id, due_ms, attempts, next_try_ms)
SELECT r.id, r.namespace_user_id, {NOW_MS_SQL}, 1, {NOW_MS_SQL} + {FIRST_RETRY_MS}
FROM unnest(%(ids)s) AS w (id) JOIN repository r ON r.id = w.id ORDER BY r.id
ON CONFLICT (repository_id) DO UPDATE SET {_ATTEMPTED}, leader_id = NULL
RETURNING repository_id, attempts, last_error
"""

# Others that other namespaces have in the queue: at most so many, one of each namespace in turns.
OF_OTHER_NAMESPACES = 4

# Taken in this order: of other namespaces, so that a namespace with very many due repositories delays no
# other; without a message, so that no task is started for nothing; the others, longest waiting first.
# A repository with an attempt that did not end is left to its own task, so that it fails alone.
_CLAIM_OTHERS = f"""
WITH RECURSIVE turns (namespace_id, own_id, n) AS (
    SELECT d.namespace_id, d.namespace_id, 0 FROM dredge_due d WHERE d.repository_id = %(leader)s
    UNION ALL
    SELECT coalesce(
        (SELECT d.namespace_id FROM dredge_due d
         WHERE d.queued_ms IS NOT NULL AND d.namespace_id > t.namespace_id ORDER BY d.namespace_id LIMIT 1),
        (SELECT d.namespace_id FROM dredge_due d
         WHERE d.queued_ms IS NOT NULL ORDER BY d.namespace_id LIMIT 1)), t.own_id, t.n + 1
    FROM turns t WHERE t.n < {OF_OTHER_NAMESPACES} AND (t.n = 0 OR t.namespace_id <> t.own_id)
), foreign_ones AS MATERIALIZED (
    SELECT w.repository_id FROM turns t CROSS JOIN LATERAL (
        SELECT q.repository_id FROM dredge_due q
        WHERE q.queued_ms IS NOT NULL AND q.namespace_id = t.namespace_id
          AND q.next_try_ms <= (SELECT {NOW_MS_SQL}) AND q.attempts = 0
        ORDER BY q.queued_ms LIMIT 1 FOR UPDATE SKIP LOCKED) w
    WHERE t.namespace_id <> t.own_id
), unqueued AS MATERIALIZED (
    SELECT w.repository_id FROM dredge_due w
    WHERE w.next_try_ms <= (SELECT {NOW_MS_SQL}) AND w.attempts = 0 AND w.queued_ms IS NULL
    ORDER BY w.next_try_ms, w.repository_id LIMIT (SELECT %(limit)s - count(*) FROM foreign_ones)
    FOR UPDATE SKIP LOCKED
), queued AS MATERIALIZED (
    SELECT w.repository_id FROM dredge_due w
    WHERE w.next_try_ms <= (SELECT {NOW_MS_SQL}) AND w.attempts = 0 AND w.queued_ms IS NOT NULL
    ORDER BY w.next_try_ms, w.repository_id
    LIMIT (SELECT %(limit)s - (SELECT count(*) FROM foreign_ones) - (SELECT count(*) FROM unqueued))
    FOR UPDATE SKIP LOCKED
)
UPDATE dredge_due d SET {_ATTEMPTED}, leader_id = %(leader)s
WHERE d.repository_id = ANY(ARRAY(SELECT repository_id FROM foreign_ones
    UNION SELECT repository_id FROM unqueued UNION SELECT repository_id FROM queued))
RETURNING repository_id
"""

# The attempts of the others stay counted, so that each of them is collected alone.
_PART = f"""
UPDATE dredge_due d SET next_try_ms = {NOW_MS_SQL}, leader_id = NULL
WHERE d.leader_id = %(leader)s AND d.attempts > 0
RETURNING 1 AS done
"""

_IS_SETTLED = f"""
SELECT EXISTS (SELECT FROM dredge_due d
               WHERE d.repository_id = %(id)s AND d.next_try_ms > {NOW_MS_SQL}) AS settled
"""


def claim(repository_ids: Sequence[int]) -> list[int]:
    """Count an attempt at each repository, in a transaction of its own.  Returns those that exist.

    Call it before the work, and `settle`, `succeed`, `release` or `record_failure` after it.  The sixth
    attempt records `registry.work.failing`.
    """
    with transaction():
        return [row.repository_id for row in _claim(repository_ids)]


def _claim(repository_ids: Sequence[int]) -> list[Any]:
    claimed = run(_CLAIM, {"ids": IntArray(sorted(set(repository_ids)))})
    for row in claimed:
        tell_failing_row(
            "collect", "repository", row.repository_id, tries=row.attempts - 1, reason=row.last_error
        )
    return claimed


def claim_with_others(repository_id: int, *, others: int) -> list[int]:
    """`claim` one repository, and at most `others` more that are due and have no attempt.

    Some are of other namespaces that wait in the queue; then those that have no message come first.
    If the last attempt at the repository did not end, it is claimed alone.  The repositories that were
    claimed with it then are due at once, each alone.
    """
    with transaction():
        claimed = _claim([repository_id])
        if not claimed:
            return []
        if claimed[0].attempts > 1:
            run(_PART, {"leader": repository_id})
            return [repository_id]
        more = run(_CLAIM_OTHERS, {"limit": others, "leader": repository_id}) if others else []
    return [repository_id, *(row.repository_id for row in more)]


def is_settled(repository_id: int) -> bool:
    """Return whether the repository has no known garbage now, or a collection of it runs."""
    return bool(run(_IS_SETTLED, {"id": repository_id})[0].settled)


# SKIP LOCKED: another transaction notes new garbage now.  The row keeps its attempt; the next try finds it.
_SETTLE = f"""
WITH mine AS MATERIALIZED (
    SELECT d.repository_id FROM dredge_due d WHERE d.repository_id = ANY(%(ids)s) FOR UPDATE SKIP LOCKED
), next AS MATERIALIZED (
    SELECT m.repository_id, coalesce(
        (SELECT t.lifetime_end_ms FROM tag t
         WHERE t.repository_id = m.repository_id
           AND t.lifetime_end_ms > %(now_ms)s - n.removed_tag_expiration_s * 1000
           AND t.lifetime_end_ms < {NEVER_MS // 2}
         ORDER BY t.lifetime_end_ms LIMIT 1) + n.removed_tag_expiration_s * 1000, {NEVER_MS}) AS due_ms
    FROM mine m JOIN repository r ON r.id = m.repository_id JOIN "user" n ON n.id = r.namespace_user_id
)
UPDATE dredge_due d SET due_ms = next.due_ms, next_try_ms = next.due_ms, attempts = 0, last_error = NULL,
    queued_ms = NULL, leader_id = NULL
FROM next WHERE d.repository_id = next.repository_id
RETURNING 1 AS done
"""


def settle(repository_ids: Sequence[int], *, now_ms: int) -> None:
    """Clear the attempts of repositories without garbage, and note when each will have some.

    Call it last in the transaction that removed the last garbage.  Does not wait for locks.  Idempotent.
    """
    run(_SETTLE, {"ids": IntArray(repository_ids), "now_ms": now_ms})


_RELEASE = f"""
UPDATE dredge_due d SET attempts = greatest(d.attempts - 1, 0), leader_id = NULL,
    next_try_ms = {NOW_MS_SQL} + %(delay_ms)s
WHERE d.repository_id = ANY(%(ids)s) AND d.attempts > 0
RETURNING 1 AS done
"""


def release(repository_ids: Sequence[int], *, delay_ms: int = 0) -> None:
    """End attempts that could not begin or were in the way: they are due again after `delay_ms`."""
    if repository_ids:
        run(_RELEASE, {"ids": IntArray(repository_ids), "delay_ms": delay_ms})


_SUCCEED = f"""
UPDATE dredge_due d SET attempts = 0, last_error = NULL, leader_id = NULL, next_try_ms = {NOW_MS_SQL}
WHERE d.repository_id = ANY(%(ids)s) AND d.attempts > 0
RETURNING 1 AS done
"""


def succeed(repository_ids: Sequence[int]) -> None:
    """End attempts that removed what they could: what interrupted earlier attempts counts no longer."""
    if repository_ids:
        run(_SUCCEED, {"ids": IntArray(repository_ids)})


_FAIL = f"""
INSERT INTO dredge_due AS d (repository_id, due_ms, attempts, next_try_ms, last_error)
VALUES (%(id)s, {NOW_MS_SQL}, 1, {NOW_MS_SQL} + {FIRST_RETRY_MS}, %(error)s)
ON CONFLICT (repository_id) DO UPDATE
SET last_error = excluded.last_error, attempts = greatest(d.attempts, 1), leader_id = NULL,
    next_try_ms = greatest(d.next_try_ms, excluded.next_try_ms)
RETURNING 1 AS done
"""


def record_failure(repository_id: int, error: str) -> None:
    """Note why the claimed attempt failed.  Nobody collects the repository before its next try.

    The next try is 30 seconds after the attempt began; each failure doubles that time, up to a day.
    """
    run(_FAIL, {"id": repository_id, "error": error[:500]})


_FORGET_GONE = f"""
DELETE FROM dredge_due d WHERE d.attempts > 0 AND NOT EXISTS
    (SELECT FROM repository r WHERE r.id = d.repository_id AND r.state <> {_MARKED})
"""


def forget_attempts_of_gone() -> int:
    """Delete rows of failing repositories that are marked for deletion.  Returns how many.  Idempotent."""
    return execute(_FORGET_GONE)
