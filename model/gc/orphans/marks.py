"""Marks of orphans: the first pass marks a suspect, a later pass confirms it if it is still there.

If a pass looks at a slice and a marked suspect is not suspect any more, its mark is deleted.  So something is
confirmed only if it was suspect in every pass during the delay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.db.connection import fetch

# A delay that never ends: suspects are marked, and none is confirmed.
NEVER_MS = 2**53

# Keys sort by their bytes.  A slice has the keys after `above`, up to `upto` inclusive.
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
    """A slice of the keys of one kind: after `above`, up to `upto` inclusive."""

    kind: str
    above: str
    upto: str


def mark_orphans(slice: KeyRange, keys: Sequence[str], *, now_ms: int, delay_ms: int) -> list[str]:
    """Mark every suspect of a slice.  Returns and unmarks those that were marked at least `delay_ms` ago.

    Call it in the transaction that hands the confirmed suspects to the stage that judges them.  Marks of the
    slice whose key is no longer among `keys` are deleted.
    """
    params = {"kind": slice.kind, "above": slice.above, "upto": slice.upto, "keys": list(keys)}
    rows = fetch(_MARK, params | {"now_ms": now_ms, "delay_ms": delay_ms})
    return [row.key for row in rows]


def try_lock_sweep(kind: str) -> bool:
    """Lock the sweep of a kind for this transaction.  False if another transaction holds the lock."""
    row = fetch("SELECT pg_try_advisory_xact_lock(hashtext('dredge.sweep'), hashtext(%s)) AS held", (kind,))
    return bool(row[0].held)
