"""Checks and findings, and how to run a check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from model.db.connection import fetch

Kind = Literal["violation", "pending"]

EXAMPLES = 5


@dataclass(frozen=True)
class Check:
    """One invariant.  `sql` selects what violates it, one text an offender; `{now_ms}` … are parameters.

    A `violation` must never exist; `pending` is work that a stage will find without help.
    """

    name: str
    kind: Kind
    what: str
    advice: str
    sql: str


@dataclass(frozen=True)
class Finding:
    """How many offenders a check found, and a few of them."""

    name: str
    kind: Kind
    what: str
    advice: str
    count: int
    examples: tuple[str, ...]

    def __or__(self, other: Finding) -> Finding:
        """Add the findings of the same check on two parts of the registry."""
        examples = (self.examples + other.examples)[:EXAMPLES]
        return Finding(self.name, self.kind, self.what, self.advice, self.count + other.count, examples)


def ask(check: Check, parameters: Mapping[str, Any]) -> Finding:
    """Run one check.  The server counts and sorts the offenders, and returns five examples."""
    rows = fetch(
        f"""
        SELECT offenders.offender, count(*) OVER () AS offenders_in_all
        FROM ({check.sql}) AS offenders(offender) ORDER BY 1 LIMIT {EXAMPLES}
        """,
        parameters,
    )
    return found(check, rows[0].offenders_in_all if rows else 0, tuple(row.offender for row in rows))


def found(check: Check, count: int, examples: tuple[str, ...]) -> Finding:
    """Return a finding of `check` that was counted elsewhere."""
    return Finding(check.name, check.kind, check.what, check.advice, count, examples[:EXAMPLES])
