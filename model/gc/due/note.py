"""Note when a repository has garbage: by whoever ends its tags, by events and by the scan."""

from __future__ import annotations

from collections.abc import Mapping

from model.db.connection import BigIntArray, IntArray, execute
from model.db.prepared import run

# The row says "no garbage that we know of": later than any instant.
NEVER_MS = 2**63 - 1

# In the order of ids: two that note the same repositories cannot wait for each other.  A repository whose
# attempts fail keeps its next try: new garbage does not make it prompter.
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
    """Note `{repository: due ms}`; an earlier instant that is known stays.  Idempotent.

    Inside a transaction that ends tags, call it last: it waits for whoever changes the same rows.
    """
    if due:
        moments = BigIntArray(min(due_ms, NEVER_MS) for due_ms in due.values())
        run(_NOTE, {"ids": IntArray(due), "due_ms": moments})


def forget_gone(*, limit: int) -> int:
    """Delete at most `limit` rows of repositories that are gone; returns how many.

    Safe: ids of repositories are never used again, and no collection would ever visit them.
    """
    return execute(
        "DELETE FROM dredge_due WHERE repository_id IN (SELECT d.repository_id FROM dredge_due d"
        " WHERE NOT EXISTS (SELECT FROM repository r WHERE r.id = d.repository_id)"
        " ORDER BY d.repository_id LIMIT %s)",
        (limit,),
    )


def forget_collected(*, limit: int) -> int:
    """Delete at most `limit` rows of repositories without known garbage; returns how many.

    Safe: such a row says nothing; whatever makes garbage writes it anew.
    """
    return execute(
        "DELETE FROM dredge_due WHERE repository_id IN (SELECT repository_id FROM dredge_due"
        f" WHERE next_try_ms = {NEVER_MS} AND attempts = 0 LIMIT %s FOR UPDATE SKIP LOCKED)",
        (limit,),
    )
