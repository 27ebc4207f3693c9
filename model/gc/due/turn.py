"""Which repositories one task collects, and which of them first: no namespace waits for all of another.

A task claims, together with its own repository, others that are due.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from model.db.clock import NOW_MS_SQL
from model.db.connection import transaction
from model.db.prepared import run
from model.db.queue_start import FRONT, Key
from model.gc.due.attempt import ATTEMPTED, CLAIMED, NEW_MS, claim_rows

# Of other namespaces: at most so many new ones, and so many with a message; one of each namespace.
OF_OTHER_NAMESPACES = 4
# Rows in which the former are looked for, so that the cost does not grow with the number of due ones.
NEWEST = 200

# Taken in this order: of other namespaces, so that a namespace with very many due repositories delays no
# other; without a message, so that no task is started for nothing; the others, longest waiting first.
# New ones need no message, which would wait behind the events and the messages of the busy namespace.
# A repository with an attempt that did not end is left to its own task, so that it fails alone; and so is one
# that had more garbage than fits into a turn.
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
), newest AS (
    SELECT w.repository_id, w.namespace_id, w.next_try_ms FROM dredge_due w
    WHERE w.next_try_ms <= (SELECT {NOW_MS_SQL}) AND w.next_try_ms > (SELECT {NOW_MS_SQL} - {NEW_MS})
      AND w.due_ms > (SELECT {NOW_MS_SQL} - {NEW_MS})
      AND w.attempts = 0 AND w.leader_id IS NULL AND w.queued_ms IS NULL
    ORDER BY w.next_try_ms DESC, w.repository_id DESC LIMIT {NEWEST}
), new AS (
    SELECT DISTINCT ON (w.namespace_id) w.repository_id, w.next_try_ms FROM newest w
    WHERE w.namespace_id <> (SELECT t.own_id FROM turns t WHERE t.n = 0)
    ORDER BY w.namespace_id, w.next_try_ms
), new_ones AS MATERIALIZED (
    SELECT q.repository_id FROM dredge_due q
    WHERE q.repository_id = ANY(ARRAY(
        SELECT w.repository_id FROM new w ORDER BY w.next_try_ms DESC LIMIT {OF_OTHER_NAMESPACES}))
      AND q.next_try_ms <= (SELECT {NOW_MS_SQL}) AND q.attempts = 0 AND q.leader_id IS NULL
    LIMIT (SELECT %(limit)s) FOR UPDATE SKIP LOCKED
), foreign_ones AS MATERIALIZED (
    SELECT w.repository_id FROM turns t CROSS JOIN LATERAL (
        SELECT q.repository_id FROM dredge_due q
        WHERE q.queued_ms IS NOT NULL AND q.namespace_id = t.namespace_id
          AND q.next_try_ms <= (SELECT {NOW_MS_SQL}) AND q.attempts = 0 AND q.leader_id IS NULL
        ORDER BY q.queued_ms LIMIT 1 FOR UPDATE SKIP LOCKED) w
    WHERE t.namespace_id <> t.own_id
    LIMIT (SELECT %(limit)s - count(*) FROM new_ones)
), unqueued AS MATERIALIZED (
    SELECT w.repository_id, w.next_try_ms FROM dredge_due w
    WHERE w.next_try_ms <= (SELECT {NOW_MS_SQL})
      AND w.attempts = 0 AND w.leader_id IS NULL AND w.queued_ms IS NULL
      AND (w.next_try_ms, w.repository_id) >= (%(from_ms)s, %(from_id)s)
      AND w.repository_id <> ALL(ARRAY(SELECT repository_id FROM new_ones))
    ORDER BY w.next_try_ms, w.repository_id
    LIMIT (SELECT %(limit)s - (SELECT count(*) FROM new_ones) - (SELECT count(*) FROM foreign_ones))
    FOR UPDATE SKIP LOCKED
), queued AS MATERIALIZED (
    SELECT w.repository_id, w.next_try_ms FROM dredge_due w
    WHERE w.next_try_ms <= (SELECT {NOW_MS_SQL})
      AND w.attempts = 0 AND w.leader_id IS NULL AND w.queued_ms IS NOT NULL
      AND (w.next_try_ms, w.repository_id) >= (%(from_ms)s, %(from_id)s)
    ORDER BY w.next_try_ms, w.repository_id
    LIMIT (SELECT %(limit)s - (SELECT count(*) FROM new_ones) - (SELECT count(*) FROM foreign_ones)
                  - (SELECT count(*) FROM unqueued))
    FOR UPDATE SKIP LOCKED
)
UPDATE dredge_due d SET {ATTEMPTED}, leader_id = %(leader)s
WHERE d.repository_id = ANY(ARRAY(
    SELECT repository_id FROM new_ones UNION SELECT repository_id FROM foreign_ones
    UNION SELECT repository_id FROM unqueued UNION SELECT repository_id FROM queued))
RETURNING repository_id, {CLAIMED}, coalesce(
    (SELECT w.next_try_ms FROM unqueued w WHERE w.repository_id = d.repository_id),
    (SELECT w.next_try_ms FROM queued w WHERE w.repository_id = d.repository_id)) AS was_due_ms
"""

# The attempts of the others stay counted, so that each of them is collected alone.
_PART = f"""
UPDATE dredge_due d SET next_try_ms = {NOW_MS_SQL}, leader_id = NULL
WHERE d.leader_id = %(leader)s AND d.attempts > 0
RETURNING 1 AS done
"""


class Turn(NamedTuple):
    """The repositories that one task has claimed; those in `first` are collected before the others.

    `reached` is the first one that was due and not locked, or the time of the claim; None if none was sought.
    """

    first: list[int]
    others: list[int]
    reached: Key | None = None


def claim_with_others(repository_id: int, *, others: int, start: Key = FRONT) -> Turn:
    """`claim` one repository, and at most `others` more that are due and have no attempt.

    Some are of other namespaces, which have come due last or wait in the queue; then those that have no
    message come first.  Both are sought from `start` on (`model.db.queue_start`).  If the last attempt at the
    repository did not end, it is claimed alone.  The repositories that were claimed with it then are due at
    once, each alone.
    """
    with transaction():
        claimed = claim_rows([repository_id])
        if not claimed:
            return Turn([], [])
        if claimed[0].attempts > 1:
            run(_PART, {"leader": repository_id})
            return Turn([], [repository_id])
        if not others:
            return _in_order(claimed, None)
        bounds = {"from_ms": start[0], "from_id": start[1]}
        found = run(_CLAIM_OTHERS, {"limit": others, "leader": repository_id, **bounds})
        keys = [(row.was_due_ms, row.repository_id) for row in found if row.was_due_ms is not None]
        return _in_order(claimed + found, min(keys, default=max(start, (claimed[0].now_ms, 0))))


def _in_order(claimed: list[Any], reached: Key | None) -> Turn:
    """Put first what is new, where most of the turn is of one other namespace.

    It is collected in a small transaction of its own, so that it does not wait for the large one.
    """
    busiest, count = Counter(row.namespace_id for row in claimed).most_common(1)[0]
    first = {
        row.repository_id
        for row in claimed
        if 2 * count > len(claimed) and row.namespace_id != busiest and row.is_new
    }
    ids = [row.repository_id for row in claimed]
    return Turn([id for id in ids if id in first], [id for id in ids if id not in first], reached)
