"""Note when a repository has garbage.  Tag operations, events and the scan call it."""

from __future__ import annotations

from collections.abc import Mapping

from model.db.arrays import BigIntArray, IntArray
from model.db.connection import execute
from model.db.prepared import run

# Means "no known garbage": later than any instant.
NEVER_MS = 2**63 - 1

# Rows are written in the order of ids, so two transactions cannot deadlock.  A repository whose attempts
# fail keeps the time of its next try: new garbage does not make it earlier.
_NOTE = """
INSERT INTO dredge_due AS d (repository_id, namespace_id, due_ms, next_try_ms)
SELECT r.id, r.namespace_user_id, w.due_ms, w.due_ms
FROM unnest(%(ids)s, %(due_ms)s) AS w (id, due_ms) JOIN repository r ON r.id = w.id ORDER BY r.id
ON CONFLICT (repository_id) DO UPDATE
SET due_ms = least(d.due_ms, excluded.due_ms), namespace_id = excluded.namespace_id,
    next_try_ms = CASE WHEN d.attempts = 0 THEN least(d.next_try_ms, excluded.next_try_ms)
                       ELSE d.next_try_ms END
WHERE excluded.due_ms < d.due_ms OR excluded.namespace_id <> d.namespace_id
   OR (d.attempts = 0 AND excluded.next_try_ms < d.next_try_ms)
RETURNING 1 AS done
"""


def note_due(due: Mapping[int, int]) -> None:
    """Note when repositories are due: `{repository id: milliseconds}`.  An earlier time stays.  Idempotent.

    In a transaction that ends tags, call it last: it waits for transactions that change the same rows.
    """
    if due:
        moments = BigIntArray(min(due_ms, NEVER_MS) for due_ms in due.values())
        run(_NOTE, {"ids": IntArray(due), "due_ms": moments})


_FORGET_GONE = """
DELETE FROM dredge_due WHERE repository_id IN (SELECT d.repository_id FROM dredge_due d
    WHERE NOT EXISTS (SELECT FROM repository r WHERE r.id = d.repository_id)
    ORDER BY d.repository_id LIMIT %s)
"""


def forget_gone(*, limit: int) -> int:
    """Delete at most `limit` rows of repositories that no longer exist.  Returns how many.  Idempotent.

    Safe: PostgreSQL does not use an id again, and no collection needs these rows.
    """
    return execute(_FORGET_GONE, (limit,))


_FORGET_COLLECTED = f"""
DELETE FROM dredge_due WHERE repository_id IN (SELECT repository_id FROM dredge_due
    WHERE next_try_ms = {NEVER_MS} AND attempts = 0 LIMIT %s FOR UPDATE SKIP LOCKED)
"""


def forget_collected(*, limit: int) -> int:
    """Delete at most `limit` rows of repositories without known garbage.  Returns how many.  Idempotent.

    Safe: such a row has no information, and every operation that makes garbage writes it again.
    """
    return execute(_FORGET_COLLECTED, (limit,))
