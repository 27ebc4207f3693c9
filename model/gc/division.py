"""Divide a claim that died or failed as a whole, until the row that is the cause is alone.

A claim that was never settled leaves its token in its rows; one that failed as a whole leaves it there as a
negative number.  The next claim counts that as a failure, and takes an eighth as many of such rows, down to
one.  So a row that makes processes die or fail is isolated and backs off; the others go on.

The table has the columns `id`, `location`, `token`, `tries` and `last_error`, and one with the time of the
next claim, which is also the lease of a claimed row.  An index has location, time and id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.db.backoff import backoff_ms
from model.db.connection import fetch_one
from model.db.queue_start import Key
from model.gc.failing import NO_END
from model.gc.poison import DIVIDE_BY

FIRST_RETRY_MS = 5_000
LAST_RETRY_MS = 6 * 3_600_000

BACKOFF = backoff_ms("t.tries", FIRST_RETRY_MS, LAST_RETRY_MS)
# How many claims of row `t` failed, the last one included.
_FAILURES = "t.tries + CASE WHEN t.token > 0 THEN 1 ELSE 0 END"
# All rows of a claim have failed equally often: one that never failed is in no claim with one that did.
ALIKE = f"(t.token IS NULL) = %(settled)s AND (%(settled)s OR {_FAILURES} = %(failures)s)"
CLAIMED = f"""token = %(token)s, tries = {_FAILURES},
    last_error = CASE WHEN t.token > 0 THEN '{NO_END}' ELSE t.last_error END"""
# A row that failed alone is settled; those that failed as one claim are divided.
FAILED = "token = CASE WHEN %(divide)s THEN -t.token END, tries = t.tries + 1, last_error = e.error"
# The lease of a claim, which is also the backoff of its rows if it dies.
LEASE = f"CASE WHEN t.token IS NULL THEN %(lease)s ELSE greatest(%(lease)s, %(now)s + {BACKOFF}) END"


@dataclass(frozen=True)
class Portion:
    """The rows that one claim may take: at most `limit` that failed equally often, `first` and later ones."""

    settled: bool
    failures: int
    limit: int
    first: Key

    @property
    def params(self) -> dict[str, object]:
        """Return the parameters of `ALIKE`, `limit`, and those of the index's start."""
        return {
            "settled": self.settled,
            "failures": self.failures,
            "limit": self.limit,
            "from_ms": self.first[0],
            "from_id": self.first[1],
        }


class Division:
    """The statements that divide the claims of one table; `due` is its column with the next claim's time."""

    def __init__(self, table: str, due: str) -> None:
        self._first = f"""
        SELECT t.token IS NULL AS settled, {_FAILURES} AS failures, t.{due} AS due_ms, t.id FROM {table} t
        WHERE t.location = %(location)s AND t.{due} <= %(upto)s
          AND (t.{due}, t.id) >= (%(from_ms)s, %(from_id)s)
        ORDER BY t.{due}, t.id LIMIT 1 FOR UPDATE SKIP LOCKED
        """
        self._unsettled = f"""
        SELECT FROM {table} WHERE location = %(location)s AND {due} <= %(upto)s
          AND ({due}, id) >= (%(from_ms)s, %(from_id)s) AND token IS NOT NULL LIMIT 1
        """

    def choose(self, where: Mapping[str, object], *, start: Key, limit: int) -> Portion | None:
        """Return which rows the next claim takes, or None if none is due.

        `where` has the `location`, and `upto`, the time until which rows are due; `start` is where the index
        is read from.  Locks the first of the rows.  Call it in the transaction of the claim.
        """
        first = fetch_one(self._first, {**where, "from_ms": start[0], "from_id": start[1]})
        if first is None:
            return None
        most = limit if first.settled else max(1, limit // DIVIDE_BY**first.failures)
        return Portion(first.settled, first.failures, most, (first.due_ms, first.id))

    def has_more(self, where: Mapping[str, object], portion: Portion, claimed: int) -> bool:
        """Return whether other rows may be due after a claim of this portion."""
        if not portion.settled or claimed == portion.limit:
            return True
        return fetch_one(self._unsettled, {**where, **portion.params}) is not None
