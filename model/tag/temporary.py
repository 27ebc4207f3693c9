"""Temporary tags: hidden names that hold a manifest which has no tag of its own yet."""

from __future__ import annotations

from collections.abc import Iterable

from model.db.connection import IntArray
from model.db.prepared import run
from model.tag.rows import Tag, tags

PREFIX = "$temp-"
_DESCENDANTS = """
WITH RECURSIVE below (id) AS (
    SELECT c.child_manifest_id FROM manifestchild c WHERE c.manifest_id = ANY(%(roots)s)
    UNION
    SELECT c.child_manifest_id FROM manifestchild c JOIN below b ON b.id = c.manifest_id
)
SELECT id FROM below
"""


def find_below(manifest_ids: Iterable[int], *, begun_by_ms: int, after_ms: int) -> tuple[Tag, ...]:
    """Find and lock the temporary tags of these manifests' descendants that end after `after_ms`.

    Leaves out tags that began after `begun_by_ms`, and tags without an end, which hold referrers.  Stops at
    a cycle of indexes.
    """
    below = run(_DESCENDANTS, {"roots": IntArray(manifest_ids)})
    if not below:
        return ()
    return tags(
        "t.manifest_id = ANY(%(below)s) AND t.hidden AND starts_with(t.name, %(prefix)s)"
        " AND t.lifetime_start_ms <= %(begun_by_ms)s AND t.lifetime_end_ms > %(after_ms)s"
        " ORDER BY t.id FOR UPDATE OF t",
        {
            "below": IntArray(row.id for row in below),
            "prefix": PREFIX,
            "begun_by_ms": begun_by_ms,
            "after_ms": after_ms,
        },
    )
