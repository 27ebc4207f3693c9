"""Quota after a purge: which blobs and bytes left a repository and its namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, chain

from model.db.arrays import IntArray
from model.db.prepared import run, run_one
from model.gc.repository_lock import Scope

# Safe beside a push or another collection of the namespace: every transaction that changes what a scope
# refers to locks these rows first, and reads the references afterwards in a new statement.  So if two
# transactions drop the last two references, exactly one of them sees that nothing is left.  The locks are
# taken in one order (repositories, then namespaces, each by row), so no two batches deadlock.
_LOCK_QUOTA = """
SELECT ARRAY(SELECT id FROM quotarepositorysize WHERE repository_id = ANY(%(repositories)s)
             ORDER BY id FOR UPDATE) AS repository_quotas,
       ARRAY(SELECT id FROM quotanamespacesize WHERE namespace_user_id = ANY(%(namespaces)s)
             ORDER BY id FOR UPDATE) AS namespace_quotas
"""

# A namespace with at most that many repositories is tested through a list of their ids.
SMALL_NAMESPACE = 1000

# A row whose backfill is not complete is not changed, as in Quay: its size is counted later from the rows.
# A base layer has a hundred thousand references, and most blobs have few.  So a few of them are read first.
# If these do not decide, each repository of the namespace is tested with one index probe.
_LEFT = """
WITH unused AS MATERIALIZED (
    SELECT s.repository_id, s.namespace_id, s.has_quota > 0 AS has_quota, lost.blob_id
    FROM unnest(%(repositories)s, %(namespaces)s, %(has_quota)s, %(first)s, %(last)s)
        AS s (repository_id, namespace_id, has_quota, first, last)
    CROSS JOIN LATERAL unnest((%(lost)s)[s.first:s.last]) AS lost (blob_id)
    WHERE NOT EXISTS (SELECT FROM manifestblob o
                      WHERE o.repository_id = s.repository_id AND o.blob_id = lost.blob_id OFFSET 0)
), left_repository AS MATERIALIZED (
    SELECT u.repository_id, u.namespace_id, u.has_quota, b.id,
           b.content_checksum AS digest, coalesce(b.image_size, 0) AS size
    FROM unused u JOIN imagestorage b ON b.id = u.blob_id
), tenants AS MATERIALIZED (
    SELECT n.*, cardinality(n.repositories) <= %(small)s AS is_small FROM (
        SELECT namespace_id, array_agg(id) AS blobs, array_agg(size) AS sizes, ARRAY(
                   SELECT r.id FROM repository r WHERE r.namespace_user_id = l.namespace_id
                   LIMIT %(small)s + 1) AS repositories
        FROM (SELECT DISTINCT namespace_id, id, size FROM left_repository WHERE has_quota) l
        GROUP BY namespace_id) n
), left_namespace AS MATERIALIZED (
    SELECT t.namespace_id, l.size
    FROM tenants t CROSS JOIN LATERAL unnest(t.blobs, t.sizes) AS l (id, size)
    CROSS JOIN LATERAL (
        SELECT count(*) AS looked, count(*) FILTER (WHERE CASE WHEN t.is_small
            THEN o.repository_id = ANY(t.repositories)
            ELSE t.namespace_id = (SELECT r.namespace_user_id FROM repository r WHERE r.id = o.repository_id)
            END) AS ours
        FROM (SELECT o.repository_id FROM manifestblob o WHERE o.blob_id = l.id LIMIT 8) o) near
    WHERE near.ours = 0 AND (near.looked < 8 OR CASE WHEN t.is_small
        THEN NOT EXISTS (
            SELECT FROM manifestblob o
            WHERE o.repository_id = ANY(t.repositories) AND o.blob_id = l.id OFFSET 0)
        ELSE NOT EXISTS (
            SELECT FROM repository r CROSS JOIN LATERAL (
                SELECT FROM manifestblob o
                WHERE o.repository_id = r.id AND o.blob_id = l.id LIMIT 1) used
            WHERE r.namespace_user_id = t.namespace_id OFFSET 0) END)
), repository_quota AS (
    UPDATE quotarepositorysize q SET size_bytes = greatest(0, q.size_bytes - freed.size)
    FROM (SELECT repository_id, sum(size) AS size FROM left_repository WHERE has_quota GROUP BY 1) freed
    WHERE q.repository_id = freed.repository_id AND q.repository_id = ANY(%(repositories)s)
      AND q.backfill_complete
), namespace_quota AS (
    UPDATE quotanamespacesize q SET size_bytes = greatest(0, q.size_bytes - freed.size)
    FROM (SELECT namespace_id, sum(size) AS size FROM left_namespace GROUP BY 1) freed
    WHERE q.namespace_user_id = freed.namespace_id AND q.namespace_user_id = ANY(%(namespaces)s)
      AND q.backfill_complete
)
SELECT repository_id, array_agg(digest ORDER BY digest) AS digests
FROM left_repository WHERE digest IS NOT NULL GROUP BY 1
"""


def settle_blobs(
    scopes: Sequence[Scope], blob_ids: Mapping[int, Sequence[int]]
) -> dict[int, tuple[str, ...]]:
    """Subtract the bytes of blobs that repositories and namespaces no longer refer to from their quotas.

    `blob_ids` are the blobs whose references a purge removed, by repository.  Call it after the purge, in
    its transaction and just before the commit, because all pushes of the namespace need the namespace's row.
    Returns the digests that left each repository.  Does not create missing quota rows.  Not idempotent: call
    it once for each purge.
    """
    losing = [scope for scope in scopes if blob_ids.get(scope.repository_id)]
    if not losing:
        return {}
    counted = [scope for scope in losing if scope.has_quota]
    if counted:
        run_one(
            _LOCK_QUOTA,
            {
                "repositories": IntArray(scope.repository_id for scope in counted),
                "namespaces": IntArray({scope.namespace_id for scope in counted}),
            },
        )
    lost = [blob_ids[scope.repository_id] for scope in losing]
    ends = list(accumulate(map(len, lost)))
    rows = run(
        _LEFT,
        {
            "repositories": IntArray(scope.repository_id for scope in losing),
            "namespaces": IntArray(scope.namespace_id for scope in losing),
            "has_quota": IntArray(int(scope.has_quota) for scope in losing),
            "first": IntArray(1 + end - len(ids) for end, ids in zip(ends, lost, strict=True)),
            "last": IntArray(ends),
            "small": SMALL_NAMESPACE,
            "lost": IntArray(chain.from_iterable(lost)),
        },
    )
    return {row.repository_id: tuple(row.digests) for row in rows}
