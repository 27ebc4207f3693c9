"""Numbers of objects in the trash.  Only reads."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import fetch_one

_STATE = """
SELECT count(*) FILTER (WHERE put_back_ms IS NULL) AS objects,
       coalesce(sum(size) FILTER (WHERE put_back_ms IS NULL), 0)::bigint AS bytes,
       count(*) FILTER (WHERE put_back_ms IS NOT NULL) AS put_back,
       count(*) FILTER (WHERE tries > 0) AS failing,
       min(purge_ms) FILTER (WHERE put_back_ms IS NULL) AS next_purge_ms,
       max(purge_ms) FILTER (WHERE put_back_ms IS NULL) AS last_purge_ms
FROM dredge_quarantine
"""


@dataclass(frozen=True)
class QuarantineState:
    """Objects in the trash, their bytes, and when the first and the last of them are purged, in ms.

    Both times are None if the trash is empty.

    `put_back` objects are in their places again, and are watched for late requests.
    """

    objects: int
    bytes: int
    put_back: int
    failing: int
    next_purge_ms: int | None
    last_purge_ms: int | None


def read_quarantine() -> QuarantineState:
    """Return the numbers of objects in the trash now."""
    return QuarantineState(*fetch_one(_STATE))
