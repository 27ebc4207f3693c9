"""Write the rows of a push as an unmodified Quay does: without row locks, tombstones and quota."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from model.db.arrays import IntArray
from model.db.connection import execute, fetch_one, transaction
from tests.support.pipeline import LOCATION

_BLOB = """
INSERT INTO imagestorage (uuid, image_size, uploading, cas_path, content_checksum)
VALUES (%(uuid)s, %(size)s, true, true, %(digest)s) RETURNING id
"""
_PLACEMENT = """
INSERT INTO imagestorageplacement (storage_id, location_id)
SELECT %(blob)s, l.id FROM imagestoragelocation l WHERE l.name = %(location)s
ON CONFLICT DO NOTHING
"""
_MARKER = """
INSERT INTO uploadedblob (repository_id, blob_id, uploaded_at, expires_at)
VALUES (%(repository)s, %(blob)s, now() AT TIME ZONE 'utc',
        now() AT TIME ZONE 'utc' + make_interval(secs => %(marked_s)s))
"""
_MANIFEST = """
WITH made AS (
    INSERT INTO manifest (repository_id, digest, media_type_id, manifest_bytes)
    SELECT %(repository)s, %(digest)s, t.id, %(text)s FROM mediatype t WHERE t.name = %(type)s RETURNING id
), linked AS (
    INSERT INTO manifestblob (repository_id, manifest_id, blob_id)
    SELECT %(repository)s, m.id, b.id FROM made m, unnest(%(blobs)s) AS b (id)
)
INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, hidden, reversion, tag_kind_id)
SELECT %(tag)s, %(repository)s, m.id, (extract(epoch from clock_timestamp()) * 1000)::bigint,
       false, false, k.id
FROM made m, tagkind k WHERE k.name = 'tag'
"""


def link_blob(repository: int, digest: str, size: int, marked_s: float = 86_400) -> int:
    """Find or insert the blob's row, its placement, and its upload marker for `marked_s`: one transaction."""
    with transaction():
        found = fetch_one("SELECT id FROM imagestorage WHERE content_checksum = %s ORDER BY id", (digest,))
        facts = {"uuid": str(uuid.uuid4()), "size": size, "digest": digest}
        blob = int((found or fetch_one(_BLOB, facts)).id)
        execute(_PLACEMENT, {"blob": blob, "location": LOCATION})
        execute(_MARKER, {"repository": repository, "blob": blob, "marked_s": marked_s})
    return blob


def tag_manifest(repository: int, blobs: Sequence[int], digest: str, text: str, tag: str) -> int:
    """Write a new manifest, its links and its tag in one transaction.  Returns the number of tags."""
    with transaction():
        return execute(
            _MANIFEST,
            {
                "repository": repository,
                "digest": digest,
                "text": text,
                "type": "application/vnd.oci.image.manifest.v1+json",
                "blobs": IntArray(blobs),
                "tag": tag,
            },
        )
