"""How much was freed on each day.  Only reads."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import fetch
from model.policy import HOUR_MS

DAY_MS = 24 * HOUR_MS

# A day without a collection also has a row, so that a plot shows zero.
_DAILY = f"""
SELECT d.day_ms, coalesce(sum(c.manifests), 0)::bigint AS manifests,
       coalesce(sum(c.objects), 0)::bigint AS objects,
       coalesce(sum(c.bytes) FILTER (WHERE c.stage = 'erase'), 0)::bigint AS bytes
FROM generate_series(%(first_ms)s::bigint, %(now_ms)s::bigint, {DAY_MS}) AS d (day_ms)
LEFT JOIN dredge_collection c ON c.finished_ms >= d.day_ms AND c.finished_ms < d.day_ms + {DAY_MS}
GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True)
class Day:
    """What was freed on the UTC day that begins at `day_ms`; `bytes` are those of erased objects."""

    day_ms: int
    manifests: int
    objects: int
    bytes: int


def read_daily(*, days: int, now_ms: int) -> list[Day]:
    """Return the last `days`, with today, oldest first."""
    first_ms = now_ms // DAY_MS * DAY_MS - (days - 1) * DAY_MS
    return [Day(*row) for row in fetch(_DAILY, {"first_ms": first_ms, "now_ms": now_ms})]
