"""The history of what collections freed: one row for each step, for operators and for audits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute
from model.db.prepared import run
from model.gc.certificate import RECORDED

# A part of a `WITH` clause: writes one row for each repository of a batch.  Parameters: `collected`,
# `removed_tags`, `removed_manifests` and `removed_rows` (arrays in one order), `now_ms` (when the batch
# began), and those of `certificate.seal`.
COLLECTED = f"""
closing (ms) AS MATERIALIZED (SELECT {NOW_MS_SQL}),
noted AS (
    INSERT INTO dredge_collection
        (stage, repository_id, started_ms, finished_ms, tags, manifests, rows, certified)
    SELECT 'collect', r.id, %(now_ms)s, closing.ms, r.tags, r.manifests, r.rows, true
    FROM closing, unnest(%(collected)s, %(removed_tags)s, %(removed_manifests)s, %(removed_rows)s)
        AS r (id, tags, manifests, rows)
), {RECORDED}
"""

_ERASED = f"""
INSERT INTO dredge_collection (stage, started_ms, finished_ms, objects, bytes)
VALUES ('erase', %(started_ms)s, {NOW_MS_SQL}, %(objects)s, %(bytes)s)
"""

_PURGED = f"""
WITH closing (ms) AS MATERIALIZED (SELECT {NOW_MS_SQL}), {RECORDED}
INSERT INTO dredge_collection
    (stage, repository_id, started_ms, finished_ms, tags, manifests, rows, certified)
SELECT 'purge', %(repository_id)s, %(started_ms)s, closing.ms, %(tags)s, %(manifests)s, %(rows)s, true
FROM closing
"""

# Rows that ended at the same time are deleted together, with the certificates of that time: so no
# certificate is left without its history.
_PRUNE = """
WITH old AS MATERIALIZED (
    SELECT id, finished_ms FROM dredge_collection WHERE finished_ms < %(before_ms)s
    ORDER BY finished_ms FETCH FIRST %(limit)s ROWS WITH TIES
), uncertified AS (
    DELETE FROM dredge_certificate WHERE finished_ms <= (SELECT max(finished_ms) FROM old)
)
DELETE FROM dredge_collection WHERE id = ANY(ARRAY(SELECT id FROM old))
"""


def record_purge(
    repository_id: int,
    certificate: Mapping[str, Any],
    *,
    started_ms: int,
    tags: int,
    manifests: int,
    rows: int,
) -> None:
    """Write the history and the certificate of a purge's batch, in its transaction."""
    execute(
        _PURGED,
        {
            "repository_id": repository_id,
            "started_ms": started_ms,
            "tags": tags,
            "manifests": manifests,
            "rows": rows,
            **certificate,
        },
    )


def record_erasing(*, started_ms: int, objects: int, bytes: int) -> None:
    """Write the history of erased objects, in the transaction that settles their tombstones."""
    run(_ERASED, {"started_ms": started_ms, "objects": objects, "bytes": bytes})


def prune_history(*, before_ms: int, limit: int) -> int:
    """Delete about `limit` rows that ended before `before_ms`, oldest first, with their certificates.

    Returns the number of rows; it is more than `limit` if several ended at the same time.  Idempotent.
    """
    return execute(_PRUNE, {"before_ms": before_ms, "limit": limit})
