"""When each periodic task last ended: a row, which survives a Redis that forgets the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch

# A task may wait behind longer ones: nine more intervals, but at least five minutes and at most an hour.
LEAST_SLACK_MS, MOST_SLACK_MS = 300_000, 3_600_000
# A late task is sent again at most this often; its message may still wait in the queue.
AGAIN_MS = 600_000

_AGE = f"{NOW_MS_SQL} - coalesce(t.ended_ms, t.since_ms)"
_IS_LATE = f"{_AGE} > t.interval_ms + least(greatest(9 * t.interval_ms, {LEAST_SLACK_MS}), {MOST_SLACK_MS})"

_ENDED = f"""
INSERT INTO dredge_periodic_task AS t (name, interval_ms, since_ms, ended_ms)
VALUES (%(name)s, %(interval_ms)s, {NOW_MS_SQL}, {NOW_MS_SQL})
ON CONFLICT (name) DO UPDATE SET interval_ms = excluded.interval_ms, ended_ms = excluded.ended_ms
"""

_EXPECT = f"""
INSERT INTO dredge_periodic_task AS t (name, interval_ms, since_ms)
SELECT n.name, n.interval_ms, {NOW_MS_SQL}
FROM unnest(%(names)s::text[], %(intervals)s::bigint[]) AS n (name, interval_ms)
ON CONFLICT (name) DO UPDATE SET interval_ms = excluded.interval_ms
WHERE t.interval_ms <> excluded.interval_ms
"""

_CLAIM = f"""
UPDATE dredge_periodic_task t SET sent_ms = {NOW_MS_SQL}
WHERE t.name = ANY(%(names)s) AND {_IS_LATE} AND t.sent_ms <= {NOW_MS_SQL} - {AGAIN_MS}
RETURNING t.name
"""

_LIST = f"""
SELECT t.name, t.interval_ms, t.ended_ms, ({_AGE})::bigint AS age_ms, {_IS_LATE} AS is_late
FROM dredge_periodic_task t ORDER BY t.name
"""


@dataclass(frozen=True)
class LastRun:
    """A periodic task: when it last ended (None: never), and whether that is too long ago.

    `age_ms` is the time since then, or since it is expected.  Times in milliseconds by the database's clock.
    """

    name: str
    interval_ms: int
    ended_ms: int | None
    age_ms: int
    is_late: bool


def record_end(name: str, interval_ms: int) -> None:
    """Record that the task has ended now without an error.  Idempotent."""
    execute(_ENDED, {"name": name, "interval_ms": interval_ms})


def claim_late(intervals_ms: Mapping[str, int]) -> tuple[str, ...]:
    """Return the names of late tasks that nobody has claimed in the last ten minutes, and claim them.

    Records every task as expected from its first call on.  Of concurrent callers one gets each name.
    """
    names = sorted(intervals_ms)
    execute(_EXPECT, {"names": names, "intervals": [intervals_ms[name] for name in names]})
    return tuple(sorted(row.name for row in fetch(_CLAIM, {"names": names})))


def list_periodic() -> list[LastRun]:
    """Return every periodic task that a worker has recorded, by name; only reads."""
    return [LastRun(*row) for row in fetch(_LIST)]
