"""What is in the trash, in numbers.  Only reads."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import fetch_one

_STATE = """
SELECT count(*) FILTER (WHERE put_back_ms IS NULL) AS objects,
       coalesce(sum(size) FILTER (WHERE put_back_ms IS NULL), 0)::bigint AS bytes,
       count(*) FILTER (WHERE put_back_ms IS NOT NULL) AS put_back,
       count(*) FILTER (WHERE tries > 0) AS failing,
       min(purge_ms) FILTER (WHERE put_back_ms IS NULL) AS next_purge_ms
FROM dredge_quarantine
"""


@dataclass(frozen=True)
class QuarantineState:
    """Objects in the trash and their bytes; the next purge in milliseconds, None where nothing is there.

    `put_back` objects are in their places again, and watched for late requests.
    """

    objects: int
    bytes: int
    put_back: int
    failing: int
    next_purge_ms: int | None


def read_quarantine() -> QuarantineState:
    """Return what the trash holds now."""
    return QuarantineState(*fetch_one(_STATE))
