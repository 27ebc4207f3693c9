"""Temporary tags: hidden names that hold a manifest which has no tag of its own yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.db.arrays import BigIntArray, IntArray
from model.db.connection import fetch
from model.db.prepared import run
from model.tag.rows import Tag, tags

PREFIX = "$temp-"
_DESCENDANTS = """
WITH RECURSIVE below (id, begun_by_ms) AS (
    SELECT c.child_manifest_id, r.begun_by_ms
    FROM unnest(%(roots)s, %(begun_by_ms)s) AS r (id, begun_by_ms)
    JOIN manifestchild c ON c.manifest_id = r.id
    UNION
    SELECT c.child_manifest_id, b.begun_by_ms FROM manifestchild c JOIN below b ON b.id = c.manifest_id
)
SELECT id, max(begun_by_ms) AS begun_by_ms FROM below GROUP BY id
"""


_BELOW = """
t.manifest_id = ANY(%(below)s) AND t.hidden AND starts_with(t.name, %(prefix)s)
AND t.lifetime_end_ms > %(after_ms)s AND t.lifetime_start_ms <= (
    SELECT max(b.begun_by_ms) FROM unnest(%(below)s, %(begun_by_ms)s) AS b (id, begun_by_ms)
    WHERE b.id = t.manifest_id)
"""
_READ = f"SELECT t.id, t.manifest_id FROM tag t WHERE {_BELOW}"


def find_below(begun_by_ms: Mapping[int, int], *, after_ms: int) -> tuple[Tag, ...]:
    """Find and lock the temporary tags of these manifests' descendants that end after `after_ms`.

    `begun_by_ms`: a manifest's id to a time; leaves out tags of its descendants that began later, and tags
    without an end, which hold referrers.  Stops at a cycle of indexes.
    """
    params = _below(begun_by_ms, after_ms)
    return tags(f"{_BELOW} ORDER BY t.id FOR UPDATE OF t", params) if params else ()


def read_below(begun_by_ms: Mapping[int, int], *, after_ms: int) -> list[tuple[int, int]]:
    """Return the (id, manifest) of the same tags, without a lock; only reads."""
    params = _below(begun_by_ms, after_ms)
    return [(row.id, row.manifest_id) for row in fetch(_READ, params)] if params else []


def _below(begun_by_ms: Mapping[int, int], after_ms: int) -> dict[str, Any]:
    """Return the parameters of `_BELOW`; empty if the manifests have no descendants."""
    roots = {"roots": IntArray(begun_by_ms), "begun_by_ms": BigIntArray(begun_by_ms.values())}
    below = run(_DESCENDANTS, roots)
    if not below:
        return {}
    return {
        "below": IntArray(row.id for row in below),
        "begun_by_ms": BigIntArray(row.begun_by_ms for row in below),
        "prefix": PREFIX,
        "after_ms": after_ms,
    }
