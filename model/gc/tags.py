"""Which tags have left their recovery window, and what their manifests may take with them."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.prepared import run_one
from model.gc.repository_lock import Scope
from model.policy import Policy
from model.upload import METADATA

# Before every tag's end: a window of centuries puts the end of a tag deleted for good before 1970.
BEGINNING_MS = -(2**62)

# A tag row `t` that nobody can restore any more.  The window is read again in this very statement.
UNRECOVERABLE = """
    t.repository_id = %(repository_id)s
    AND t.lifetime_end_ms <= %(now_ms)s
        - (SELECT n.removed_tag_expiration_s * 1000 FROM "user" n WHERE n.id = %(namespace_id)s)
    AND NOT (t.immutable AND %(protects_immutable)s)
"""


def unrecoverable_params(scope: Scope, policy: Policy) -> dict[str, int | bool]:
    """The parameters of `UNRECOVERABLE`."""
    return {
        "repository_id": scope.repository_id,
        "namespace_id": scope.namespace_id,
        "now_ms": scope.now_ms,
        "protects_immutable": policy.protects_immutable,
    }


# All manifests that may die with the seeds: their children, their subjects and, where referrers
# go with their subject, their referrers; breadth first, so that parents come before children.
CLOSURE = """
    closure (id) AS (
        SELECT id FROM seeds WHERE id IS NOT NULL
        UNION
        SELECT next.id FROM closure c CROSS JOIN LATERAL (
            SELECT mc.child_manifest_id AS id FROM manifestchild mc WHERE mc.manifest_id = c.id
            UNION ALL
            SELECT s.id FROM manifest m
            JOIN manifest s ON s.repository_id = m.repository_id AND s.digest = m.subject
            WHERE m.id = c.id
            UNION ALL
            SELECT r.id FROM manifest m
            JOIN manifest r ON r.repository_id = m.repository_id AND r.subject = m.digest
            WHERE m.id = c.id AND %(cascade)s
        ) next
    )
"""

# `= ANY(ARRAY(…))` rather than `IN (…)`: an index probe for each id, whatever the statistics say.
# SKIP LOCKED: a tag that somebody is restoring and a manifest that somebody is adopting are left
# alone and never waited for.
_EXPIRE = f"""
WITH RECURSIVE doomed AS MATERIALIZED (
    SELECT t.id, t.name, t.manifest_id, t.lifetime_end_ms FROM tag t
    WHERE {UNRECOVERABLE} AND t.lifetime_end_ms >= %(from_ms)s
    ORDER BY t.lifetime_end_ms, t.id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), notified AS (
    DELETE FROM tagnotificationsuccess s WHERE s.tag_id = ANY(ARRAY(SELECT id FROM doomed)) RETURNING 1
), unlinked AS (
    UPDATE tag SET linked_tag_id = NULL
    WHERE linked_tag_id = ANY(ARRAY(SELECT id FROM doomed)) AND id <> ALL(ARRAY(SELECT id FROM doomed))
), gone AS (
    -- Safe: the row is locked, and was found unrecoverable by this statement.
    DELETE FROM tag t WHERE t.id = ANY(ARRAY(SELECT id FROM doomed)) RETURNING 1
), unpulled AS (
    -- Pulls are counted by name: they stay while the name has a living tag.
    DELETE FROM tagpullstatistics s
    WHERE s.repository_id = %(repository_id)s AND s.tag_name = ANY(ARRAY(SELECT name FROM doomed))
      AND NOT EXISTS (
          SELECT FROM tag a WHERE a.repository_id = s.repository_id AND a.name = s.tag_name
          AND (a.lifetime_end_ms IS NULL OR a.lifetime_end_ms > %(now_ms)s))
    RETURNING 1
), taken AS (
    -- Safe: judged below, in this transaction; what is not judged is recorded again.
    DELETE FROM dredge_manifest_candidate k WHERE k.id = ANY(ARRAY(
        SELECT id FROM dredge_manifest_candidate
        WHERE repository_id = %(repository_id)s AND due_ms <= %(now_ms)s ORDER BY id LIMIT %(limit)s))
    RETURNING k.manifest_id
), seeds (id) AS (
    SELECT manifest_id FROM doomed UNION SELECT manifest_id FROM taken
), {CLOSURE}, bounded AS MATERIALIZED (
    SELECT id FROM closure LIMIT %(reach)s
), locked AS MATERIALIZED (
    SELECT m.id FROM manifest m
    WHERE m.id = ANY(ARRAY(SELECT id FROM bounded)) AND m.repository_id = %(repository_id)s
    FOR UPDATE SKIP LOCKED
)
SELECT (SELECT count(*) FROM doomed) AS tags,
       (SELECT coalesce(max(lifetime_end_ms), %(from_ms)s) FROM doomed) AS reached_ms,
       (SELECT count(*) FROM taken) AS candidates,
       (SELECT count(*) FROM notified) + (SELECT count(*) FROM gone)
           + (SELECT count(*) FROM unpulled) AS rows,
       ARRAY(SELECT id FROM seeds WHERE id IS NOT NULL UNION SELECT id FROM bounded) AS reached,
       (SELECT count(*) FROM bounded) AS bounded,
       ARRAY(SELECT id FROM locked) AS locked
"""


@dataclass(frozen=True)
class Expired:
    """The outcome of one `purge_expired_tags`."""

    tags: int
    reached_ms: int
    rows: int
    has_more: bool
    truncated: bool
    locked: tuple[int, ...]
    unjudged: tuple[int, ...]


def purge_expired_tags(scope: Scope, *, policy: Policy, limit: int, from_ms: int = BEGINNING_MS) -> Expired:
    """Delete at most `limit` unrecoverable tags, oldest end first, and lock what may die with them.

    Also takes up to `limit` recorded candidates.  `locked` are the manifests to judge, at most four
    times the limit; `unjudged` those that are in somebody's hands or out of reach, to be recorded
    again in this transaction.  A second run finds other tags or none.

    Only tags that ended at `from_ms` or later are looked at: a batch that goes on where the last one
    ended (`reached_ms`) does not step over the index entries of all that went before.
    """
    reach = 4 * limit
    found = run_one(
        _EXPIRE,
        {
            **unrecoverable_params(scope, policy),
            "cascade": policy.referrers == "cascade",
            "limit": limit,
            "reach": reach,
            "from_ms": from_ms,
        },
    )
    return Expired(
        tags=found.tags,
        reached_ms=found.reached_ms,
        rows=found.rows,
        has_more=found.tags == limit or found.candidates == limit,
        truncated=found.bounded == reach,
        locked=tuple(found.locked),
        unjudged=tuple(sorted(set(found.reached) - set(found.locked))),
    )


_UPLOADS = """
WITH expired AS MATERIALIZED (
    SELECT u.id, u.blob_id FROM uploadedblob u
    WHERE u.repository_id = %(repository_id)s
      AND u.expires_at <= to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC'
    ORDER BY u.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), gone AS (
    -- Safe: the marker's time is over, and the blob becomes a candidate in the same transaction.
    DELETE FROM uploadedblob u WHERE u.id = ANY(ARRAY(SELECT id FROM expired)) RETURNING 1
), candidates AS (
    INSERT INTO dredge_blob_candidate (blob_id, repository_id, created_ms)
    SELECT DISTINCT blob_id, %(repository_id)s, %(now_ms)s FROM expired
), stale AS MATERIALIZED (
    SELECT b.id, b.uuid, b.location_id, b.byte_count, b.chunk_count, b.storage_metadata FROM blobupload b
    WHERE b.repository_id = %(repository_id)s
      AND b.created <= to_timestamp((%(now_ms)s - %(upload_ttl_ms)s) / 1000.0) AT TIME ZONE 'UTC'
    ORDER BY b.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), abandoned AS (
    -- Safe: an upload that is being resumed has its row locked and is skipped.
    DELETE FROM blobupload b WHERE b.id = ANY(ARRAY(SELECT id FROM stale)) RETURNING 1
), tombstones AS (
    INSERT INTO dredge_tombstone (path, location, size, created_ms, due_ms)
    SELECT 'uploads/' || s.uuid || n.suffix, l.name, s.byte_count / n.parts, %(now_ms)s, %(now_ms)s
    FROM stale s JOIN imagestoragelocation l ON l.id = s.location_id
    -- Ours lie in numbered chunks, and one more than was noted may have been written.
    CROSS JOIN LATERAL (
        SELECT '' AS suffix, 1 AS parts WHERE s.storage_metadata IS DISTINCT FROM %(numbered)s
        UNION ALL SELECT '-' || c, s.chunk_count + 1 FROM generate_series(0, s.chunk_count) c
        WHERE s.storage_metadata = %(numbered)s
    ) n
)
SELECT (SELECT count(*) FROM gone) AS markers, (SELECT count(*) FROM abandoned) AS uploads,
       ARRAY(SELECT DISTINCT b.content_checksum FROM expired e JOIN imagestorage b ON b.id = e.blob_id
             WHERE b.content_checksum IS NOT NULL AND NOT EXISTS (
                 SELECT FROM manifestblob r
                 WHERE r.repository_id = %(repository_id)s AND r.blob_id = b.id OFFSET 0)) AS blobs
"""


@dataclass(frozen=True)
class ExpiredUploads:
    """The outcome of one `purge_expired_uploads`; `blobs` are digests that no manifest here refers to."""

    markers: int = 0
    uploads: int = 0
    blobs: tuple[str, ...] = ()
    has_more: bool = False


def purge_expired_uploads(scope: Scope, *, policy: Policy, limit: int) -> ExpiredUploads:
    """Delete at most `limit` expired push markers and unfinished uploads of the repository each.

    Their blobs become candidates, their chunks tombstones.  A second run finds others or none.
    """
    found = run_one(
        _UPLOADS,
        {
            "repository_id": scope.repository_id,
            "now_ms": scope.now_ms,
            "upload_ttl_ms": policy.upload_ttl_ms,
            "numbered": METADATA,
            "limit": limit,
        },
    )
    has_more = limit in (found.markers, found.uploads)
    return ExpiredUploads(found.markers, found.uploads, tuple(found.blobs), has_more)
