"""Attempts at collecting a repository, counted before the work.

Its row has the attempt before the work begins.  So after an error, a time limit, a kill or too little memory
the repository is tried again later, `dredge status` shows it, and other repositories do not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from model.db.arrays import IntArray
from model.db.backoff import backoff_ms, shortened
from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, transaction
from model.db.prepared import run
from model.db.tables import RepositoryState
from model.gc.due.note import NEVER_MS
from model.gc.failing import NO_END, tell_failing_row
from model.policy import HOUR_MS

_MARKED = int(RepositoryState.MARKED_FOR_DELETION)
FIRST_RETRY_MS = 30_000
LAST_RETRY_MS = 24 * HOUR_MS

_BACKOFF_MS = backoff_ms("d.attempts", FIRST_RETRY_MS, LAST_RETRY_MS)
# What an attempt changes in the row `d`.
ATTEMPTED = f"""
attempts = d.attempts + 1, queued_ms = NULL, next_try_ms = {NOW_MS_SQL} + {_BACKOFF_MS},
last_error = CASE WHEN d.attempts > 0 THEN coalesce(d.last_error, '{NO_END}') ELSE d.last_error END
"""

# A repository is new if it came due so recently.
NEW_MS = 60_000
# What a claim returns of the row `d` for the order of the turn.
CLAIMED = f"namespace_id, due_ms > {NOW_MS_SQL} - {NEW_MS} AS is_new, {NOW_MS_SQL} AS now_ms"

_CLAIM = f"""
INSERT INTO dredge_due AS d (repository_id, namespace_id, due_ms, attempts, next_try_ms)
SELECT r.id, r.namespace_user_id, {NOW_MS_SQL}, 1, {NOW_MS_SQL} + {FIRST_RETRY_MS}
FROM unnest(%(ids)s) AS w (id) JOIN repository r ON r.id = w.id ORDER BY r.id
ON CONFLICT (repository_id) DO UPDATE SET {ATTEMPTED}, leader_id = NULL
RETURNING repository_id, attempts, last_error, {CLAIMED}
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
        return [row.repository_id for row in claim_rows(repository_ids)]


def claim_rows(repository_ids: Sequence[int]) -> list[Any]:
    """Do the work of `claim` in the caller's transaction.  Returns the rows."""
    claimed = run(_CLAIM, {"ids": IntArray(sorted(set(repository_ids)))})
    for row in claimed:
        tell_failing_row(
            "collect", "repository", row.repository_id, tries=row.attempts - 1, reason=row.last_error
        )
    return claimed


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


# In these words, because for `attempts > 0` the server may read the whole index of attempts.
_ATTEMPTED_ONCE = "d.attempts - 1 >= 0"

_RELEASE = f"""
UPDATE dredge_due d SET attempts = greatest(d.attempts - 1, 0), leader_id = NULL,
    next_try_ms = {NOW_MS_SQL} + %(delay_ms)s
WHERE d.repository_id = ANY(%(ids)s) AND {_ATTEMPTED_ONCE}
RETURNING 1 AS done
"""


def release(repository_ids: Sequence[int], *, delay_ms: int = 0) -> None:
    """End attempts that could not begin or were in the way: they are due again after `delay_ms`."""
    if repository_ids:
        run(_RELEASE, {"ids": IntArray(repository_ids), "delay_ms": delay_ms})


# One that has more garbage leads itself: only its own task takes it, so that it delays no small ones.
_SUCCEED = f"""
UPDATE dredge_due d SET attempts = 0, last_error = NULL, next_try_ms = {NOW_MS_SQL},
    leader_id = CASE WHEN d.repository_id = ANY(%(unfinished)s) THEN d.repository_id END
WHERE d.repository_id = ANY(%(ids)s) AND {_ATTEMPTED_ONCE}
RETURNING 1 AS done
"""


def succeed(repository_ids: Sequence[int], *, unfinished: Sequence[int] = ()) -> None:
    """End attempts that removed what they could: what interrupted earlier attempts counts no longer.

    No task takes `unfinished` ones along with another repository.
    """
    if repository_ids:
        run(_SUCCEED, {"ids": IntArray(repository_ids), "unfinished": IntArray(unfinished)})


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
    run(_FAIL, {"id": repository_id, "error": shortened(error)})


_FORGET_GONE = f"""
DELETE FROM dredge_due d WHERE d.attempts > 0 AND NOT EXISTS
    (SELECT FROM repository r WHERE r.id = d.repository_id AND r.state <> {_MARKED})
"""


def forget_attempts_of_gone() -> int:
    """Delete rows of failing repositories that are marked for deletion.  Returns how many.  Idempotent."""
    return execute(_FORGET_GONE)
