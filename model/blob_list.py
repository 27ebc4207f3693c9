"""Which blobs a repository refers to."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import fetch
from model.db.fragments import AT, PLACED


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


def find_blobs(repository_id: int, *, now_ms: int, after_id: int = 0, limit: int = 100) -> BlobPage:
    """At most `limit` blobs with a larger id that a manifest or a running push of the repository uses."""
    rows = fetch(
        "SELECT b.id, b.content_checksum AS digest, b.image_size AS size FROM imagestorage b"
        " WHERE b.id IN (SELECT m.blob_id FROM manifestblob m"
        "   WHERE m.repository_id = %(repository)s AND m.blob_id > %(after)s"
        "  UNION SELECT u.blob_id FROM uploadedblob u"
        f"   WHERE u.repository_id = %(repository)s AND u.blob_id > %(after)s AND u.expires_at > {AT})"
        f" AND b.content_checksum IS NOT NULL AND {PLACED}"
        " ORDER BY b.id LIMIT %(limit)s",
        {"repository": repository_id, "at": now_ms, "after": after_id, "limit": limit + 1},
    )
    page = tuple(BlobLine(*row) for row in rows)
    return BlobPage(page[:limit], page[limit - 1].id if len(page) > limit else None)
