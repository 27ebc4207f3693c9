"""What collections freed: one row for each step, for people and for audit."""

from __future__ import annotations

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute
from model.db.prepared import run

# One row for each repository of a batch, with the parameters `collected`, `removed_tags`,
# `removed_manifests` and `removed_rows` (arrays in one order) and `now_ms`, when the batch began.
COLLECTED = f"""
INSERT INTO dredge_collection (stage, repository_id, started_ms, finished_ms, tags, manifests, rows)
SELECT 'collect', r.id, %(now_ms)s, {NOW_MS_SQL}, r.tags, r.manifests, r.rows
FROM unnest(%(collected)s, %(removed_tags)s, %(removed_manifests)s, %(removed_rows)s)
    AS r (id, tags, manifests, rows)
"""

_ERASED = f"""
INSERT INTO dredge_collection (stage, started_ms, finished_ms, objects, bytes)
VALUES ('erase', %(started_ms)s, {NOW_MS_SQL}, %(objects)s, %(bytes)s)
"""


_PURGED = f"""
INSERT INTO dredge_collection (stage, repository_id, started_ms, finished_ms, tags, manifests, rows)
VALUES ('purge', %(repository_id)s, %(started_ms)s, {NOW_MS_SQL}, %(tags)s, %(manifests)s, %(rows)s)
"""


def record_purge(repository_id: int, *, started_ms: int, tags: int, manifests: int, rows: int) -> None:
    """Tell of what a batch of a purge deleted, in its transaction."""
    execute(
        _PURGED,
        {
            "repository_id": repository_id,
            "started_ms": started_ms,
            "tags": tags,
            "manifests": manifests,
            "rows": rows,
        },
    )


def record_erasing(*, started_ms: int, objects: int, bytes: int) -> None:
    """Tell of erased objects, in the transaction that settles their tombstones."""
    run(_ERASED, {"started_ms": started_ms, "objects": objects, "bytes": bytes})


def prune_history(*, before_ms: int, limit: int) -> int:
    """Delete at most `limit` rows that ended before the given time.  Returns how many were deleted."""
    return execute(
        "DELETE FROM dredge_collection WHERE id IN (SELECT id FROM dredge_collection"
        " WHERE finished_ms < %s ORDER BY finished_ms LIMIT %s)",
        (before_ms, limit),
    )
