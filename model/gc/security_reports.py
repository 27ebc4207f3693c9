"""Security reports that must be deleted at the scanner; each attempt is counted before it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.db.arrays import BigIntArray
from model.db.backoff import backoff_ms, shortened
from model.db.clock import now_ms
from model.db.connection import execute, fetch
from model.db.queue_start import FRONT, OF_DUE, Key
from model.gc.failing import NO_END

FIRST_RETRY_MS = 30_000
LAST_RETRY_MS = 24 * 3_600_000


@dataclass(frozen=True)
class Debt:
    """One report to delete; `owed` is false if some repository has the digest again."""

    id: int
    digest: str
    owed: bool
    was_due_ms: int

    @property
    def key(self) -> Key:
        """Return where the queue had this report before the claim."""
        return self.was_due_ms, self.id


# The next try is written first, so that the report waits for it even if the process dies.
_CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT d.id, d.due_ms FROM dredge_report_debt d
    WHERE d.due_ms <= %(now)s AND (d.due_ms, d.id) >= (%(from_ms)s, %(from_id)s)
    ORDER BY d.due_ms, d.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE dredge_report_debt d SET tries = d.tries + 1, last_error = %(no_end)s,
    due_ms = %(now)s + {backoff_ms("d.tries", "%(first)s", "%(last)s")}
FROM due WHERE d.id = due.id AND d.id {OF_DUE}
RETURNING d.id, d.digest, NOT EXISTS (SELECT FROM manifest m WHERE m.digest = d.digest OFFSET 0) AS owed,
          due.due_ms AS was_due_ms
"""

_RELEASE = """
UPDATE dredge_report_debt SET tries = greatest(tries - 1, 0), last_error = %(error)s,
    due_ms = %(now)s + %(first)s
WHERE id = ANY(%(ids)s)
"""


def claim_report_debts(*, limit: int, start: Key = FRONT) -> list[Debt]:
    """Claim at most `limit` due reports, longest due first, and count an attempt at each.

    Looks only at those from `start` on (`model.db.queue_start`).

    Decides here whether a report is still owed, because two collections that delete the last two manifests
    of a digest at once see each other's manifest.  If a report is not settled, its next try is 30 seconds
    later; each attempt doubles that time, up to a day.
    """
    rows = fetch(
        _CLAIM,
        {
            "now": now_ms(),
            "limit": limit,
            "from_ms": start[0],
            "from_id": start[1],
            "no_end": NO_END,
            "first": FIRST_RETRY_MS,
            "last": LAST_RETRY_MS,
        },
    )
    return sorted((Debt(*row) for row in rows), key=lambda debt: debt.id)


def settle_report_debts(ids: Sequence[int]) -> None:
    """Delete the rows of reports that the scanner has deleted, or that are not owed any more.  Idempotent."""
    # Safe: the scanner has no such report any more, or some repository still needs it.
    execute("DELETE FROM dredge_report_debt WHERE id = ANY(%s)", (BigIntArray(ids),))


def record_report_error(id: int, error: str) -> None:
    """Note why an attempt failed."""
    execute("UPDATE dredge_report_debt SET last_error = %s WHERE id = %s", (shortened(error), id))


def release_report_debts(ids: Sequence[int], error: str) -> None:
    """Give back reports that were not tried because the scanner is unavailable: due in 30 seconds."""
    execute(
        _RELEASE,
        {"ids": BigIntArray(ids), "now": now_ms(), "first": FIRST_RETRY_MS, "error": shortened(error)},
    )
