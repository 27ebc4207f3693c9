"""What a collection would remove, by the collector's own conditions and judgement.  Only reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.db.arrays import IntArray
from model.db.clock import now_ms
from model.db.connection import fetch, fetch_one
from model.db.fragments import PLACED, is_abandoned_upload, is_expired_marker
from model.gc.manifests.judge import foresee_manifest_uses, judge_running
from model.gc.repository_lock import Scope, read_repository
from model.gc.tags import CLOSURE, UNRECOVERABLE, unrecoverable_params
from model.policy import Policy

_AFFECTED = f"""
WITH RECURSIVE seeds (id) AS (
    SELECT t.manifest_id FROM tag t WHERE {UNRECOVERABLE}
    UNION SELECT manifest_id FROM dredge_manifest_candidate
    WHERE repository_id = %(repository_id)s AND due_ms <= %(now_ms)s
), {CLOSURE}
SELECT c.id FROM closure c JOIN manifest m ON m.id = c.id AND m.repository_id = %(repository_id)s
"""

_TAGS = f"""
SELECT t.name FROM tag t
WHERE t.repository_id = %(repository_id)s AND ({UNRECOVERABLE} OR t.manifest_id = ANY(%(dead)s))
ORDER BY t.name, t.id
"""

_BLOBS = f"""
WITH dead AS MATERIALIZED (
    SELECT unnest(%(dead)s) AS id
), expired AS MATERIALIZED (
    SELECT u.id, u.blob_id FROM uploadedblob u
    WHERE u.repository_id = ANY(%(repositories)s) AND {is_expired_marker("u")}
), lost AS MATERIALIZED (
    SELECT b.blob_id AS id FROM manifestblob b JOIN dead d ON d.id = b.manifest_id
    UNION SELECT blob_id FROM expired
    UNION SELECT blob_id FROM dredge_blob_candidate
)
SELECT count(*) AS blobs, coalesce(sum(b.image_size) FILTER (WHERE {PLACED}), 0)::bigint AS bytes
FROM lost JOIN imagestorage b ON b.id = lost.id
WHERE NOT EXISTS (SELECT FROM manifestblob r WHERE r.blob_id = b.id
                  AND NOT EXISTS (SELECT FROM dead d WHERE d.id = r.manifest_id))
  AND NOT EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id
                  AND NOT EXISTS (SELECT FROM expired e WHERE e.id = u.id))
"""

_UPLOADS = f"""
SELECT (SELECT count(*) FROM uploadedblob u WHERE u.repository_id = %(repository_id)s
        AND {is_expired_marker("u")})
     + (SELECT count(*) FROM blobupload b WHERE b.repository_id = %(repository_id)s
        AND {is_abandoned_upload("b")}) AS n
"""


@dataclass(frozen=True)
class Plan:
    """What would be removed from one repository: tag names, manifest digests and their ids.

    `uploads` is the number of expired push markers and unfinished uploads.
    """

    scope: Scope
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    manifest_ids: tuple[int, ...]
    uploads: int = 0

    @property
    def is_empty(self) -> bool:
        """Return whether nothing would be removed."""
        return not (self.tags or self.digests or self.uploads)


def plan_repository(repository_id: int, *, policy: Policy) -> Plan | None:
    """Return what a whole collection of this repository would remove now; None if it may not be collected.

    Takes no lock and writes nothing.  Memory grows with the number of removed tags and manifests.
    """
    scope = read_repository(repository_id)
    if scope is None:
        return None
    params = {**unrecoverable_params(scope, policy), "cascade": policy.referrers == "cascade"}
    affected = [row.id for row in fetch(_AFFECTED, params)]
    uses = foresee_manifest_uses(scope, affected, policy=policy) if affected else []
    _, dead = judge_running(uses, now_ms=scope.now_ms)
    ids = IntArray(dead)
    names = fetch(_TAGS, {**params, "dead": ids})
    digests = fetch("SELECT digest FROM manifest WHERE id = ANY(%s) ORDER BY digest", (ids,))
    return Plan(
        scope,
        tuple(row.name for row in names),
        tuple(row.digest for row in digests),
        tuple(sorted(dead)),
        fetch_one(_UPLOADS, {**params, "upload_ttl_ms": policy.upload_ttl_ms}).n,
    )


def plan_blobs(plans: Sequence[Plan]) -> tuple[int, int]:
    """Return how many blobs, and how many bytes, would be unused after these plans; only reads.

    Counts a blob once if several of the repositories share it, and counts blobs that are already candidates.
    """
    row = fetch_one(
        _BLOBS,
        {
            "dead": IntArray(id for plan in plans for id in plan.manifest_ids),
            "repositories": IntArray(plan.scope.repository_id for plan in plans),
            "now_ms": now_ms(),
        },
    )
    return row.blobs, row.bytes
