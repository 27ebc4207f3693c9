"""The quota tables against a recomputation: the bytes of the distinct blobs of each scope.

Each check is one statement, so one snapshot: a push or a collection cannot come between the two sums.
Only rows whose backfill is complete are exact; the others are not kept by anybody yet.
"""

from __future__ import annotations

from model.fsck.check import Check

RECOUNT = "Set backfill_complete to false and backfill_start_ms to null: the registry counts again."
DISTINCT = (
    "SELECT scope, coalesce(sum(image_size), 0) AS size_bytes FROM (SELECT DISTINCT {scope} AS scope, b.id,"
    " b.image_size FROM manifestblob mb JOIN imagestorage b ON b.id = mb.blob_id"
    " JOIN repository r ON r.id = mb.repository_id) AS distinct_blobs GROUP BY scope"
)

CHECKS = (
    Check(
        "quota-repository",
        "violation",
        "a repository's quota differs from the bytes of its distinct blobs",
        RECOUNT,
        "SELECT 'repository ' || q.repository_id || ': ' || q.size_bytes || ', recomputed '"
        " || coalesce(s.size_bytes, 0) FROM quotarepositorysize q"
        f" LEFT JOIN ({DISTINCT.format(scope='mb.repository_id')}) s ON s.scope = q.repository_id"
        " WHERE q.backfill_complete AND q.size_bytes <> coalesce(s.size_bytes, 0)",
    ),
    Check(
        "quota-namespace",
        "violation",
        "a namespace's quota differs from the bytes of its distinct blobs",
        RECOUNT,
        "SELECT n.username || ': ' || q.size_bytes || ', recomputed ' || coalesce(s.size_bytes, 0)"
        ' FROM quotanamespacesize q JOIN "user" n ON n.id = q.namespace_user_id'
        f" LEFT JOIN ({DISTINCT.format(scope='r.namespace_user_id')}) s ON s.scope = q.namespace_user_id"
        " WHERE q.backfill_complete AND q.size_bytes <> coalesce(s.size_bytes, 0)",
    ),
)
