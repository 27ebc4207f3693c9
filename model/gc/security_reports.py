"""Security reports that the scanner still has: debts, claimed by row locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.db.clock import now_ms
from model.db.connection import BigIntArray, execute, fetch

FIRST_RETRY_MS = 30_000
LAST_RETRY_MS = 24 * 3_600_000


@dataclass(frozen=True)
class Debt:
    """One report to delete; `owed` is false where some repository has the digest again."""

    id: int
    digest: str
    owed: bool


def claim_report_debts(*, limit: int) -> list[Debt]:
    """Lock at most `limit` due debts for this transaction, longest due first (SKIP LOCKED).

    Whether a debt is owed is asked here, not where it was recorded: of two repositories that drop
    the last two manifests of a digest, each still sees the other's.
    """
    rows = fetch(
        "WITH due AS MATERIALIZED (SELECT d.id, d.digest FROM dredge_report_debt d"
        " WHERE d.due_ms <= %s ORDER BY d.due_ms, d.id LIMIT %s FOR UPDATE SKIP LOCKED)"
        " SELECT d.id, d.digest, NOT EXISTS"
        " (SELECT FROM manifest m WHERE m.digest = d.digest OFFSET 0) AS owed FROM due d",
        (now_ms(), limit),
    )
    return [Debt(*row) for row in rows]


def settle_report_debts(ids: Sequence[int]) -> None:
    """Delete debts that the scanner has answered, or that are not owed any more."""
    # Safe: the caller holds these rows.
    execute("DELETE FROM dredge_report_debt WHERE id = ANY(%s)", (BigIntArray(ids),))


def postpone_report_debts(ids: Sequence[int], error: str) -> None:
    """Try these again later: 30 seconds, doubled by each failure, to a day."""
    execute(
        "UPDATE dredge_report_debt SET tries = tries + 1, last_error = %(error)s, due_ms = %(now)s"
        " + least(%(last)s, %(first)s * power(2, least(tries, 20)))::bigint WHERE id = ANY(%(ids)s)",
        {
            "error": error[:500],
            "now": now_ms(),
            "first": FIRST_RETRY_MS,
            "last": LAST_RETRY_MS,
            "ids": BigIntArray(ids),
        },
    )
