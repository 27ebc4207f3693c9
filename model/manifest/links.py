"""The references of a manifest (blobs, children, labels), and its quota."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from model.db.arrays import IntArray
from model.db.connection import execute, fetch, fetch_one
from model.db.fragments import PLACED, REFERRED
from model.errors import BadManifest, NoSuchBlob
from model.oci import Document

_LOCK_BLOBS = f"""
SELECT b.id, b.content_checksum AS digest, b.image_size AS size FROM imagestorage b
WHERE b.content_checksum = ANY(%(digests)s) AND {PLACED} AND {REFERRED}
ORDER BY b.id FOR KEY SHARE OF b
"""

_LOCK_REPOSITORY = """
SELECT id FROM quotarepositorysize WHERE repository_id = %(repository)s AND backfill_complete
FOR NO KEY UPDATE
"""

_LOCK_NAMESPACE = """
SELECT q.id FROM quotanamespacesize q
WHERE q.namespace_user_id = (SELECT namespace_user_id FROM repository WHERE id = %(repository)s)
    AND q.backfill_complete
FOR NO KEY UPDATE
"""

_ADD_TO_REPOSITORY = """
UPDATE quotarepositorysize q SET size_bytes = size_bytes + coalesce((
    SELECT sum(b.image_size) FROM imagestorage b WHERE b.id = ANY(%(blobs)s) AND NOT EXISTS (
        SELECT FROM manifestblob m WHERE m.repository_id = q.repository_id AND m.blob_id = b.id)), 0)
WHERE q.id = %(id)s
"""

_ADD_TO_NAMESPACE = """
UPDATE quotanamespacesize q SET size_bytes = size_bytes + coalesce((
    SELECT sum(b.image_size) FROM imagestorage b WHERE b.id = ANY(%(blobs)s) AND NOT EXISTS (
        SELECT FROM manifestblob m JOIN repository r ON r.id = m.repository_id
        WHERE m.blob_id = b.id AND r.namespace_user_id = q.namespace_user_id)), 0)
WHERE q.id = %(id)s
"""

_LINK_BLOBS = """
INSERT INTO manifestblob (repository_id, manifest_id, blob_id) SELECT %s, %s, unnest(%s)
"""

_LINK_CHILDREN = """
INSERT INTO manifestchild (repository_id, manifest_id, child_manifest_id)
SELECT %s, %s, unnest(%s) ON CONFLICT (manifest_id, child_manifest_id) DO NOTHING
"""

_ADD_LABELS = """
WITH made AS (
    INSERT INTO label (uuid, key, value, media_type_id, source_type_id)
    SELECT l.uuid, l.key, l.value, (SELECT id FROM mediatype WHERE name = 'text/plain'),
           (SELECT id FROM labelsourcetype WHERE name = 'manifest')
    FROM unnest(%s, %s, %s) AS l (uuid, key, value) RETURNING id
)
INSERT INTO manifestlabel (repository_id, manifest_id, label_id) SELECT %s, %s, id FROM made
"""


def lock_blobs(repository_id: int, document: Document, now_ms: int) -> list[int]:
    """Lock the rows of the manifest's blobs, in id order, before linking them.  Returns their ids.

    Waits for a review that has locked a row: after that the row is gone (`NoSuchBlob`), or it stays.  The
    review skips the rows that are locked here.  A layer with `urls` is included if it was pushed
    nevertheless; a Quay never links such a layer, and loses it.
    """
    wanted = document.blobs
    rows = fetch(
        _LOCK_BLOBS,
        {"digests": [*wanted, *document.remote], "repository": repository_id, "at": now_ms},
    )
    found = {row.digest: row for row in reversed(rows)}
    for digest, descriptor in wanted.items():
        if digest not in found:
            raise NoSuchBlob(digest=digest)
        stored = found[digest].size
        if stored is not None and stored != descriptor.size:
            raise BadManifest(
                "The manifest states a wrong size for a blob",
                digest=digest,
                size=stored,
                stated=descriptor.size,
            )
    return sorted(row.id for row in found.values())


def add_to_quota(repository_id: int, blob_ids: Sequence[int]) -> None:
    """Add blobs that are new to the repository or its namespace to their quotas, if these are counted.

    Locks the quota rows first, repository before namespace.  So of two pushes of one new blob, or of a
    push and a collection, the second one counts after the first has committed.
    """
    params = {"repository": repository_id, "blobs": IntArray(blob_ids)}
    for lock, add in ((_LOCK_REPOSITORY, _ADD_TO_REPOSITORY), (_LOCK_NAMESPACE, _ADD_TO_NAMESPACE)):
        # A new statement after the lock: it sees what the transaction that had locked the row has committed.
        if row := fetch_one(lock, params):
            execute(add, {**params, "id": row.id})


def link_blobs(repository_id: int, manifest_id: int, blob_ids: Sequence[int]) -> None:
    """Insert the references to locked blobs."""
    execute(
        _LINK_BLOBS,
        (repository_id, manifest_id, IntArray(blob_ids)),
    )


def link_children(repository_id: int, manifest_id: int, child_ids: Sequence[int]) -> None:
    """Insert the references to locked children.  Idempotent."""
    if child_ids:
        execute(
            _LINK_CHILDREN,
            (repository_id, manifest_id, IntArray(child_ids)),
        )


def add_labels(repository_id: int, manifest_id: int, labels: Mapping[str, str]) -> None:
    """Insert labels for the manifest."""
    if labels:
        execute(
            _ADD_LABELS,
            (
                [str(uuid.uuid4()) for _ in labels],
                list(labels),
                list(labels.values()),
                repository_id,
                manifest_id,
            ),
        )
