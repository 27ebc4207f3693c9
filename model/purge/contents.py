"""Delete the contents of a deleted repository (tags, manifests, uploads) with the collector's statements."""

from __future__ import annotations

from dataclasses import dataclass, replace

from model.db.connection import execute, fetch, fetch_one
from model.gc.manifests.purge import purge_manifests
from model.gc.quota import settle_blobs
from model.gc.repository_lock import Scope
from model.gc.uploads import purge_expired_uploads
from model.policy import Policy

# Safe: the repository is marked for deletion and locked, its grace is over, and no tag of it can be restored.
# SKIP LOCKED: the next batch deletes a row that an old push has locked.
_TAGS = """
WITH doomed AS MATERIALIZED (
    SELECT id FROM tag WHERE repository_id = %(repository_id)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), notified AS (
    DELETE FROM tagnotificationsuccess WHERE tag_id = ANY(ARRAY(SELECT id FROM doomed)) RETURNING 1
), unlinked AS (
    UPDATE tag SET linked_tag_id = NULL
    WHERE linked_tag_id = ANY(ARRAY(SELECT id FROM doomed)) AND id <> ALL(ARRAY(SELECT id FROM doomed))
), gone AS (
    DELETE FROM tag WHERE id = ANY(ARRAY(SELECT id FROM doomed)) RETURNING 1
)
SELECT (SELECT count(*) FROM gone) AS tags, (SELECT count(*) FROM notified) AS notified
"""

# Before the manifests, because a child may be deleted in an earlier batch than its index.
_CHILDREN = """
DELETE FROM manifestchild WHERE id = ANY(ARRAY(
    SELECT id FROM manifestchild WHERE repository_id = %(repository_id)s LIMIT %(limit)s))
"""

_MANIFESTS = """
SELECT m.id FROM manifest m WHERE m.repository_id = %(repository_id)s
  AND NOT EXISTS (SELECT FROM dredge_in_use u WHERE u.digest = m.digest)
LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""

# No push into a deleted repository can finish: its uploads end now, and the collector's statement writes
# candidates and tombstones for them.
_END_UPLOADS = """
WITH markers AS (
    UPDATE uploadedblob SET expires_at = to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC'
    WHERE repository_id = %(repository_id)s
      AND expires_at > to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC' RETURNING 1
), uploads AS (
    UPDATE blobupload SET created = to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC'
    WHERE repository_id = %(repository_id)s
      AND created > to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC' RETURNING 1
)
SELECT (SELECT count(*) FROM markers) + (SELECT count(*) FROM uploads) AS ended
"""


@dataclass(frozen=True)
class Contents:
    """What was deleted of a repository; `manifests` are (digest, subject or None), as `manifest_ids`."""

    tags: int = 0
    manifests: tuple[tuple[str, str | None], ...] = ()
    manifest_ids: tuple[int, ...] = ()
    blobs: tuple[str, ...] = ()
    blob_candidates: int = 0
    rows: int = 0


NOTHING = Contents()


def purge_contents(scope: Scope, *, policy: Policy, limit: int) -> Contents:
    """Delete about `limit` tags, manifests and uploads, and all rows that depend on them.

    Their blobs become candidates, and the quota is settled.  Idempotent: a second run deletes the rest.
    """
    params = {"repository_id": scope.repository_id, "limit": limit}
    found = fetch_one(_TAGS, params)
    done = Contents(tags=found.tags, rows=found.tags + found.notified)
    if done.rows < limit:
        done = replace(done, rows=done.rows + execute(_CHILDREN, {**params, "limit": limit - done.rows}))
    if done.rows < limit:
        done = _manifests(scope, done, policy, limit - done.rows)
    if done.rows < limit:
        done = _uploads(scope, done, policy, limit)
    return done


def _manifests(scope: Scope, done: Contents, policy: Policy, limit: int) -> Contents:
    ids = [row.id for row in fetch(_MANIFESTS, {"repository_id": scope.repository_id, "limit": limit})]
    if not ids:
        return done
    where = scope.repository_id
    purged = purge_manifests(ids, policy=policy, now_ms=scope.now_ms)
    return replace(
        done,
        tags=done.tags + purged.tags.get(where, 0),
        manifests=tuple(purged.manifests.get(where, ())),
        manifest_ids=tuple(purged.ids.get(where, ())),
        blobs=settle_blobs([scope], purged.blob_ids).get(where, ()),
        blob_candidates=len(purged.blob_ids.get(where, ())),
        rows=done.rows + purged.rows.get(where, 0),
    )


def _uploads(scope: Scope, done: Contents, policy: Policy, limit: int) -> Contents:
    fetch_one(_END_UPLOADS, {"repository_id": scope.repository_id, "now_ms": scope.now_ms})
    ended = replace(policy, upload_ttl_ms=0)
    gone = purge_expired_uploads([scope], policy=ended, limit=limit)[scope.repository_id]
    return replace(
        done,
        blobs=(*done.blobs, *gone.blobs),
        blob_candidates=done.blob_candidates + gone.markers,
        rows=done.rows + gone.markers + gone.uploads,
    )
