"""Which due repositories to enqueue next.  One namespace has a bounded number of them in the queue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from model.db.arrays import IntArray
from model.db.clock import NOW_MS_SQL
from model.db.connection import fetch
from model.db.prepared import run, run_one
from model.db.queue_start import FRONT, Key
from model.gc.find import Due, rank

# Rows that are looked at for the next messages.
LOOK = 1_000

_QUEUED = """
SELECT d.namespace_id, count(*) AS n FROM dredge_due d WHERE d.queued_ms IS NOT NULL GROUP BY 1
"""

# A namespace with its whole share in the queue is skipped, so that other namespaces do not wait for it.
# The time is a subquery: the server evaluates it once, and reads the index only up to it.
UNQUEUED = f"""
SELECT d.repository_id, d.namespace_id, d.due_ms FROM dredge_due d
WHERE d.queued_ms IS NULL AND d.next_try_ms <= (SELECT {NOW_MS_SQL}) AND d.namespace_id <> ALL(%(full)s)
  AND (d.next_try_ms, d.repository_id) >= (%(from_ms)s, %(from_id)s)
ORDER BY d.next_try_ms, d.repository_id LIMIT %(limit)s
"""


_FIRST = f"""
SELECT n.now_ms, f.next_try_ms, f.repository_id FROM (SELECT {NOW_MS_SQL} AS now_ms) n LEFT JOIN LATERAL (
    SELECT d.next_try_ms, d.repository_id FROM dredge_due d
    WHERE d.queued_ms IS NULL AND d.next_try_ms <= n.now_ms
      AND (d.next_try_ms, d.repository_id) >= (%(from_ms)s, %(from_id)s)
    ORDER BY d.next_try_ms, d.repository_id LIMIT 1) f ON true
"""


class First(NamedTuple):
    """The first due repository that is not in the queue, or the time at which there was none."""

    key: Key
    found: bool


def find_first(start: Key) -> First:
    """Find the first due repository, from `start` on, that is not in the queue; only reads."""
    row = run_one(_FIRST, {"from_ms": start[0], "from_id": start[1]})
    if row.next_try_ms is None:
        return First(max(start, (row.now_ms, 0)), found=False)
    return First((row.next_try_ms, row.repository_id), found=True)


def find_waiting(*, limit: int, share: int, start: Key = FRONT) -> list[int]:
    """Return due repositories that are not in the queue, ordered by `in_share`; only reads.

    Looks only at those from `start` on (`model.db.queue_start`).

    At most as many as bring the queue to `limit`, because tasks take further ones along; but always one of a
    namespace that has none there.  The cost depends on what is due, not on the size of the registry.
    """
    queued = _count_queued()
    # A namespace with thousands of due ones must not hide the others, so those are looked for first.
    found = _find_unqueued(start, except_of=list(queued))
    if queued and len(found) < LOOK:
        found += _find_unqueued(start, except_of=[id for id, n in queued.items() if n >= share])
    free = limit - sum(queued.values())
    chosen = _in_share(found, queued, limit=LOOK, share=share)
    return [due.repository_id for n, due in enumerate(chosen) if n < free or due.namespace_id not in queued]


def _find_unqueued(start: Key, *, except_of: Sequence[int]) -> list[Due]:
    bounds = {"from_ms": start[0], "from_id": start[1]}
    return [Due(*row) for row in run(UNQUEUED, {"full": IntArray(except_of), "limit": LOOK, **bounds})]


def in_share(found: Sequence[Due], *, limit: int, share: int) -> list[int]:
    """Choose at most `limit` repositories to enqueue: longest waiting first, namespaces take turns.

    A namespace has at most `share` repositories in the queue; its others wait in the table.
    """
    return [due.repository_id for due in _in_share(found, _count_queued(), limit=limit, share=share)]


def _in_share(found: Sequence[Due], queued: dict[int, int], *, limit: int, share: int) -> list[Due]:
    room = {namespace_id: share - n for namespace_id, n in queued.items()}
    chosen = []
    for due in rank(list(found), limit=limit):
        left = room.get(due.namespace_id, share)
        if left > 0:
            room[due.namespace_id] = left - 1
            chosen.append(due)
    return chosen


def _count_queued() -> dict[int, int]:
    return {row.namespace_id: row.n for row in fetch(_QUEUED)}


# If a collection of the repository has begun meanwhile, it is no longer due and is not marked.
_MARK = f"""
UPDATE dredge_due d SET queued_ms = {NOW_MS_SQL}
WHERE d.repository_id = ANY(ARRAY(
    SELECT w.repository_id FROM dredge_due w
    WHERE w.repository_id = ANY(%(ids)s) AND w.next_try_ms <= {NOW_MS_SQL} FOR UPDATE SKIP LOCKED))
RETURNING 1 AS done
"""

_FORGET = f"""
UPDATE dredge_due d SET queued_ms = NULL
WHERE d.repository_id = ANY(ARRAY(
    SELECT w.repository_id FROM dredge_due w
    WHERE w.queued_ms < {NOW_MS_SQL} - %(age_ms)s FOR UPDATE SKIP LOCKED))
RETURNING 1 AS done
"""


def mark_queued(repository_ids: Sequence[int]) -> None:
    """Note that a message for each of these repositories waits in the queue.  Idempotent."""
    if repository_ids:
        run(_MARK, {"ids": IntArray(repository_ids)})


def forget_queued(*, age_ms: int) -> int:
    """Treat messages that were sent longer than `age_ms` ago as lost.  Returns how many.  Idempotent.

    Safe if a message still waits: the queue refuses a second one for the same repository.
    """
    return len(run(_FORGET, {"age_ms": age_ms}))
