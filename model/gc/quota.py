"""What a purge took out of a repository and its namespace: blobs and bytes of quota."""

from __future__ import annotations

from collections.abc import Iterable

from model.db.connection import IntArray
from model.db.prepared import run_one
from model.gc.repository_lock import Scope

# Safe against a push or another collection of the namespace: whoever changes what a scope refers
# to takes these rows first and looks afterwards, in a statement of its own, so that of two who
# drop the last two references exactly one sees that nothing is left.
_LOCK_QUOTA = """
SELECT (SELECT id FROM quotarepositorysize WHERE repository_id = %(repository_id)s
        FOR UPDATE) AS repository_quota,
       (SELECT id FROM quotanamespacesize WHERE namespace_user_id = %(namespace_id)s
        FOR UPDATE) AS namespace_quota
"""

# A base layer has a hundred thousand references: a few of them are looked at first, and only where
# that does not decide is every repository of the namespace asked, each by one index probe.
_LEFT = """
WITH unused AS MATERIALIZED (
    SELECT lost.id FROM unnest(%(blobs)s) AS lost (id)
    WHERE NOT EXISTS (SELECT FROM manifestblob o
                      WHERE o.repository_id = %(repository_id)s AND o.blob_id = lost.id OFFSET 0)
), left_repository AS MATERIALIZED (
    SELECT b.id, b.content_checksum AS digest, coalesce(b.image_size, 0) AS size
    FROM unused u JOIN imagestorage b ON b.id = u.id
), left_namespace AS MATERIALIZED (
    SELECT l.id, l.size FROM left_repository l
    CROSS JOIN LATERAL (
        SELECT count(*) AS looked, count(r.id) AS ours
        FROM (SELECT o.repository_id FROM manifestblob o WHERE o.blob_id = l.id LIMIT 8) o
        LEFT JOIN repository r ON r.id = o.repository_id AND r.namespace_user_id = %(namespace_id)s) near
    WHERE %(has_quota)s AND near.ours = 0
      AND (near.looked < 8 OR NOT EXISTS (
          SELECT FROM repository r CROSS JOIN LATERAL (
              SELECT FROM manifestblob o
              WHERE o.repository_id = r.id AND o.blob_id = l.id LIMIT 1) used
          WHERE r.namespace_user_id = %(namespace_id)s OFFSET 0))
), repository_quota AS (
    UPDATE quotarepositorysize
    SET size_bytes = greatest(0, size_bytes - (SELECT coalesce(sum(size), 0) FROM left_repository))
    WHERE repository_id = %(repository_id)s AND %(has_quota)s
), namespace_quota AS (
    UPDATE quotanamespacesize
    SET size_bytes = greatest(0, size_bytes - (SELECT coalesce(sum(size), 0) FROM left_namespace))
    WHERE namespace_user_id = %(namespace_id)s AND %(has_quota)s
)
SELECT ARRAY(SELECT digest FROM left_repository WHERE digest IS NOT NULL ORDER BY digest) AS digests
"""


def settle_blobs(scope: Scope, blob_ids: Iterable[int]) -> tuple[str, ...]:
    """Subtract from the quota what the repository and the namespace no longer refer to.

    Call it after the purge, in its transaction and shortly before its end: the namespace's row
    is everybody's.  Returns the digests that left the repository.  Quota rows that are not there
    are not made.  Not repeatable: the purge that lost the references is what makes it happen once.
    """
    params = {
        "repository_id": scope.repository_id,
        "namespace_id": scope.namespace_id,
        "blobs": IntArray(blob_ids),
        "has_quota": scope.has_quota,
    }
    if scope.has_quota:
        run_one(_LOCK_QUOTA, params)
    return tuple(run_one(_LEFT, params).digests)
