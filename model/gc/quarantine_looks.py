"""Looks at the objects in the trash: which of them are due, because rows refer to them or it is time."""

from __future__ import annotations

from collections.abc import Mapping

from model.db.connection import execute, fetch
from model.db.fragments import OBJECT_REFERRED
from model.db.queue_start import HURRIED_MS, STARTS, Key, start_params
from model.gc.quarantine import FIRST_LOOK_MS

# Rows of `imagestorage` that a turn compares with the trash.
NEWEST = 5_000

# These come first, because clients may wait.  Objects that are back or that failed keep their own times.
_HURRY = f"""
UPDATE dredge_quarantine s SET look_ms = {HURRIED_MS} FROM (
    SELECT content_checksum FROM imagestorage ORDER BY id DESC LIMIT {NEWEST}
) newest
WHERE s.digest = newest.content_checksum AND s.look_ms > %(now)s AND s.token IS NULL
  AND s.put_back_ms IS NULL AND s.tries = 0 AND {OBJECT_REFERRED}
"""

# The time to the next look is the time of the last four looks together.
_LOOK = f"""
UPDATE dredge_quarantine s SET token = NULL,
       look_ms = least(s.purge_ms, %(now)s + greatest(%(first)s, 3 * (%(now)s - s.set_aside_ms)))
WHERE s.id = ANY(ARRAY(
        SELECT due.id FROM {STARTS} CROSS JOIN LATERAL (
            SELECT d.id FROM dredge_quarantine d
            WHERE d.location = s.name AND d.look_ms <= %(now)s AND d.purge_ms > %(now)s
              AND (d.look_ms, d.id) >= (s.from_ms, s.from_id)
            ORDER BY d.look_ms, d.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) due))
  AND NOT {OBJECT_REFERRED}
"""

_IS_HURRIED = f"""EXISTS (
    SELECT FROM dredge_quarantine q WHERE q.location = s.name AND q.look_ms <= {HURRIED_MS} OFFSET 0)"""

# Locations with rows, due or not.
_HELD = f"""
SELECT s.name FROM {STARTS} WHERE {_IS_HURRIED} OR EXISTS (
    SELECT FROM dredge_quarantine q
    WHERE q.location = s.name AND (q.look_ms, q.id) >= (s.from_ms, s.from_id) OFFSET 0)
"""

_DUE = f"""
SELECT s.name FROM {STARTS} WHERE {_IS_HURRIED} OR EXISTS (
    SELECT FROM dredge_quarantine q
    WHERE q.location = s.name AND q.look_ms <= %(now)s
      AND (q.look_ms, q.id) >= (s.from_ms, s.from_id) OFFSET 0)
"""


def look_at_quarantine(starts: Mapping[str, Key], *, now_ms: int, limit: int) -> list[str]:
    """Make due the objects that rows refer to again; look at the others less and less often.

    Looks at these locations only, from the start of each on (`model.db.queue_start`).
    Returns those with objects to put back or to purge now.  Idempotent.
    """
    params = {**start_params(starts), "now": now_ms, "limit": limit, "first": FIRST_LOOK_MS}
    if not fetch(_HELD, params):
        return []
    execute(_HURRY, params)
    execute(_LOOK, params)
    return [row.name for row in fetch(_DUE, params)]
