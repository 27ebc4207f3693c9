"""Marks of orphans: the first pass marks a suspect, a later pass confirms it if it is still there.

A mark is forgotten as soon as its slice is looked at and the thing is not suspect any more, so
the two passes follow each other, with the delay between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.db.connection import fetch

# A delay of ages: everything is noted, and nothing confirmed.
NEVER_MS = 2**53

# Keys sort by their bytes; a slice of them is what lies after `above`, up to and with `upto`.
_MARK = """
WITH seen AS MATERIALIZED (
    SELECT key FROM unnest(%(keys)s::text[]) AS k (key)
), forgotten AS (
    DELETE FROM dredge_orphan s WHERE s.kind = %(kind)s
      AND s.key COLLATE "C" > %(above)s AND s.key COLLATE "C" <= %(upto)s
      AND NOT EXISTS (SELECT FROM seen WHERE seen.key = s.key)
), confirmed AS (
    DELETE FROM dredge_orphan s USING seen WHERE s.kind = %(kind)s AND s.key = seen.key
      AND s.first_seen_ms <= %(now_ms)s - %(delay_ms)s
    RETURNING s.key
), noted AS (
    INSERT INTO dredge_orphan (kind, key, first_seen_ms)
    SELECT %(kind)s, seen.key, %(now_ms)s FROM seen
    WHERE NOT EXISTS (SELECT FROM dredge_orphan s WHERE s.kind = %(kind)s AND s.key = seen.key)
    ON CONFLICT (kind, key) DO NOTHING
)
SELECT key FROM confirmed ORDER BY key COLLATE "C"
"""


@dataclass(frozen=True)
class KeyRange:
    """A part of the keys of one kind."""

    kind: str
    above: str
    upto: str


def mark_orphans(slice: KeyRange, keys: Sequence[str], *, now_ms: int, delay_ms: int) -> list[str]:
    """Note every suspect of a slice; those that were noted at least `delay_ms` ago, whose mark ends.

    Call it in the transaction that hands the confirmed to their judge.  Suspects of the slice that
    are not among `keys` any more are forgotten.
    """
    params = {"kind": slice.kind, "above": slice.above, "upto": slice.upto, "keys": list(keys)}
    rows = fetch(_MARK, params | {"now_ms": now_ms, "delay_ms": delay_ms})
    return [row.key for row in rows]


def try_lock_sweep(kind: str) -> bool:
    """Lock the sweep of a kind for this transaction; False where another one holds it."""
    row = fetch("SELECT pg_try_advisory_xact_lock(hashtext('dredge.sweep'), hashtext(%s)) AS held", (kind,))
    return bool(row[0].held)
