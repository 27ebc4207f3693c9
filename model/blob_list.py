"""Which ready blobs a repository refers to.  Only reads."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import fetch
from model.db.fragments import AT, PLACED, REFERRED
from model.storage_paths import object_path


@dataclass(frozen=True)
class FoundBlob:
    """A ready blob of a repository and the locations that hold its object."""

    blob_id: int
    digest: str
    size: int | None
    path: str
    locations: tuple[str, ...]


_BLOB = f"""
SELECT b.id, b.uuid, b.cas_path, b.image_size AS size,
    ARRAY(SELECT l.name FROM imagestorageplacement p
    JOIN imagestoragelocation l ON l.id = p.location_id
    WHERE p.storage_id = b.id ORDER BY l.id) AS locations
    FROM imagestorage b WHERE b.content_checksum = %(digest)s AND {PLACED}
    AND {REFERRED} ORDER BY b.id
"""

_LOCK_BLOB = f"{_BLOB} FOR KEY SHARE OF b"


def find_blob(repository_id: int, digest: str, *, now_ms: int, lock: bool = False) -> FoundBlob | None:
    """Return a ready blob of that digest if this repository refers to it, else None.

    `lock` keeps its row from the review until the transaction ends.
    """
    sql = _LOCK_BLOB if lock else _BLOB
    for row in fetch(sql, {"digest": digest, "repository": repository_id, "at": now_ms}):
        path = object_path(digest, row.cas_path, row.uuid)
        return FoundBlob(row.id, digest, row.size, path, tuple(row.locations))
    return None


@dataclass(frozen=True)
class BlobLine:
    """A ready blob of a repository."""

    id: int
    digest: str
    size: int | None


@dataclass(frozen=True)
class BlobPage:
    """Blobs in the order of their ids; `after_id` asks for the next page, None on the last one."""

    blobs: tuple[BlobLine, ...]
    after_id: int | None


_BLOBS = f"""
SELECT b.id, b.content_checksum AS digest, b.image_size AS size FROM imagestorage b
    WHERE b.id IN (SELECT m.blob_id FROM manifestblob m
    WHERE m.repository_id = %(repository)s AND m.blob_id > %(after)s
    UNION SELECT u.blob_id FROM uploadedblob u
    WHERE u.repository_id = %(repository)s AND u.blob_id > %(after)s AND u.expires_at > {AT})
    AND b.content_checksum IS NOT NULL AND {PLACED}
    ORDER BY b.id LIMIT %(limit)s
"""


def find_blobs(repository_id: int, *, now_ms: int, after_id: int = 0, limit: int = 100) -> BlobPage:
    """At most `limit` blobs with a larger id that a manifest or a running push of the repository uses."""
    rows = fetch(_BLOBS, {"repository": repository_id, "at": now_ms, "after": after_id, "limit": limit + 1})
    page = tuple(BlobLine(*row) for row in rows)
    return BlobPage(page[:limit], page[limit - 1].id if len(page) > limit else None)
