"""Compare the quota tables with a new sum: the bytes of the distinct blobs of each scope.

Each check is one statement and so one snapshot: no push or collection can come between the two sums.
Only rows whose backfill is complete are checked; the others are not counted yet.
"""

from __future__ import annotations

from model.fsck.check import Check

RECOUNT = "Set backfill_complete to false and backfill_start_ms to null: the registry counts again."

_REPOSITORIES = """
SELECT 'repository ' || q.repository_id || ': ' || q.size_bytes || ', recomputed ' || coalesce(s.bytes, 0)
FROM quotarepositorysize q LEFT JOIN (
    SELECT repository_id, sum(image_size) AS bytes FROM (
        SELECT DISTINCT mb.repository_id, b.id, b.image_size
        FROM manifestblob mb JOIN imagestorage b ON b.id = mb.blob_id) d
    GROUP BY repository_id) s ON s.repository_id = q.repository_id
WHERE q.backfill_complete AND q.size_bytes <> coalesce(s.bytes, 0)
"""

_NAMESPACES = """
SELECT n.username || ': ' || q.size_bytes || ', recomputed ' || coalesce(s.bytes, 0)
FROM quotanamespacesize q JOIN "user" n ON n.id = q.namespace_user_id LEFT JOIN (
    SELECT namespace_user_id, sum(image_size) AS bytes FROM (
        SELECT DISTINCT r.namespace_user_id, b.id, b.image_size
        FROM manifestblob mb JOIN imagestorage b ON b.id = mb.blob_id
        JOIN repository r ON r.id = mb.repository_id) d
    GROUP BY namespace_user_id) s ON s.namespace_user_id = q.namespace_user_id
WHERE q.backfill_complete AND q.size_bytes <> coalesce(s.bytes, 0)
"""

CHECKS = (
    Check(
        "quota-repository",
        "violation",
        "a repository's quota differs from the bytes of its distinct blobs",
        RECOUNT,
        _REPOSITORIES,
    ),
    Check(
        "quota-namespace",
        "violation",
        "a namespace's quota differs from the bytes of its distinct blobs",
        RECOUNT,
        _NAMESPACES,
    ),
)
