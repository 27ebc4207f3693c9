"""What collections freed: one row for each step, for people and for audit."""

from __future__ import annotations

from typing import Any

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute
from model.db.prepared import run

# One row, with the parameters that `parameters` gives.
INSERT = f"""
INSERT INTO dredge_collection
    (stage, repository_id, started_ms, finished_ms, tags, manifests, objects, rows, bytes)
VALUES (%(stage)s, nullif(%(repository_id)s, 0), %(started_ms)s, {NOW_MS_SQL},
        %(tags)s, %(manifests)s, %(objects)s, %(rows)s, %(bytes)s)
"""


def parameters(
    stage: str,
    *,
    started_ms: int,
    repository_id: int | None = None,
    tags: int = 0,
    manifests: int = 0,
    objects: int = 0,
    rows: int = 0,
    bytes: int = 0,
) -> dict[str, Any]:
    """The parameters of `INSERT`."""
    return {
        "stage": stage,
        "repository_id": repository_id or 0,
        "started_ms": started_ms,
        "tags": tags,
        "manifests": manifests,
        "objects": objects,
        "rows": rows,
        "bytes": bytes,
    }


def record_erasing(*, started_ms: int, objects: int, bytes: int) -> None:
    """Tell of erased objects, in the transaction that settles their tombstones."""
    run(INSERT, parameters("erase", started_ms=started_ms, objects=objects, bytes=bytes))


def prune_history(*, before_ms: int, limit: int) -> int:
    """Delete at most `limit` rows that ended before the given time; how many there were."""
    return execute(
        "DELETE FROM dredge_collection WHERE id IN (SELECT id FROM dredge_collection"
        " WHERE finished_ms < %s ORDER BY finished_ms LIMIT %s)",
        (before_ms, limit),
    )
