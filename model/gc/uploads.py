"""Expired push markers and unfinished uploads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.db.arrays import IntArray
from model.db.fragments import is_abandoned_upload, is_expired_marker
from model.db.prepared import run_one
from model.gc.repository_lock import Scope
from model.policy import Policy
from model.upload import PATHS_SQL

_UPLOADS = f"""
WITH expired AS MATERIALIZED (
    SELECT u.* FROM unnest(%(repositories)s) AS s (id) CROSS JOIN LATERAL (
        SELECT u.id, u.repository_id, u.blob_id FROM uploadedblob u
        WHERE u.repository_id = s.id
          AND {is_expired_marker("u")}
        ORDER BY u.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) u
    LIMIT %(limit)s
), gone AS (
    -- Safe: the marker's time is over, and the blob becomes a candidate in the same transaction.
    DELETE FROM uploadedblob u WHERE u.id = ANY(ARRAY(SELECT id FROM expired)) RETURNING u.repository_id
), candidates AS (
    INSERT INTO dredge_blob_candidate (blob_id, repository_id, created_ms)
    SELECT DISTINCT blob_id, repository_id, %(now_ms)s FROM expired
), stale AS MATERIALIZED (
    SELECT b.* FROM unnest(%(repositories)s) AS s (id) CROSS JOIN LATERAL (
        SELECT b.id, b.uuid, b.location_id, b.byte_count, b.chunk_count, b.storage_metadata
        FROM blobupload b WHERE b.repository_id = s.id
          AND {is_abandoned_upload("b")}
        ORDER BY b.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) b
    LIMIT %(limit)s
), abandoned AS (
    -- Safe: an upload that is being resumed has its row locked and is skipped.
    DELETE FROM blobupload b WHERE b.id = ANY(ARRAY(SELECT id FROM stale)) RETURNING b.repository_id
), tombstones AS (
    INSERT INTO dredge_tombstone (path, location, size, created_ms, due_ms)
    SELECT p.path, l.name, u.byte_count / count(*) OVER (PARTITION BY u.id), %(now_ms)s, %(now_ms)s
    FROM stale u JOIN imagestoragelocation l ON l.id = u.location_id
    CROSS JOIN LATERAL ({PATHS_SQL}) p
)
SELECT (SELECT count(*) FROM gone) AS markers, (SELECT count(*) FROM abandoned) AS uploads,
       (SELECT json_agg(c) FROM (
            SELECT repository_id, sum(marker) AS markers, count(*) AS rows FROM (
                SELECT repository_id, 1 AS marker FROM gone
                UNION ALL SELECT repository_id, 0 FROM abandoned) removed GROUP BY 1) c) AS removed,
       (SELECT json_agg(json_build_array(l.repository_id, l.digest)) FROM (
            SELECT DISTINCT e.repository_id, b.content_checksum AS digest
            FROM expired e JOIN imagestorage b ON b.id = e.blob_id
            WHERE b.content_checksum IS NOT NULL AND NOT EXISTS (
                SELECT FROM manifestblob r
                WHERE r.repository_id = e.repository_id AND r.blob_id = b.id OFFSET 0)) l) AS blobs
"""


@dataclass(frozen=True)
class ExpiredUploads:
    """What `purge_expired_uploads` removed from a repository.

    `blobs` are the digests that no manifest of the repository refers to.
    """

    markers: int = 0
    uploads: int = 0
    blobs: tuple[str, ...] = ()
    has_more: bool = False


def purge_expired_uploads(
    scopes: Sequence[Scope], *, policy: Policy, limit: int
) -> dict[int, ExpiredUploads]:
    """Delete at most `limit` expired push markers, and as many unfinished uploads.  Results by repository.

    Their blobs become candidates, and tombstones are written for their chunks.  Idempotent.
    """
    found = run_one(
        _UPLOADS,
        {
            "repositories": IntArray(scope.repository_id for scope in scopes),
            "now_ms": scopes[0].now_ms,
            "upload_ttl_ms": policy.upload_ttl_ms,
            "limit": limit,
        },
    )
    has_more = limit in (found.markers, found.uploads)
    digests: dict[int, list[str]] = {}
    for repository_id, digest in found.blobs or ():
        digests.setdefault(repository_id, []).append(digest)
    removed = {each["repository_id"]: each for each in found.removed or ()}
    outcomes = {}
    for scope in scopes:
        each = removed.get(scope.repository_id, {"markers": 0, "rows": 0})
        outcomes[scope.repository_id] = ExpiredUploads(
            each["markers"],
            each["rows"] - each["markers"],
            tuple(digests.get(scope.repository_id, ())),
            has_more,
        )
    return outcomes
