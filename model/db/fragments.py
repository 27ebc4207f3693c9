"""SQL that several modules share: times, expired pushes, how repositories refer to blobs, rows to objects."""

from __future__ import annotations

# A database timestamp (without a zone, in UTC) of a parameter in milliseconds.
AT = "to_timestamp(%(at)s / 1000.0) AT TIME ZONE 'utc'"
UNTIL = "to_timestamp(%(until)s / 1000.0) AT TIME ZONE 'utc'"

# When row `d` of `deletedrepository` or `deletednamespace` was marked, in milliseconds.
MARKED_MS = "(extract(epoch FROM d.marked) * 1000)::bigint"


def is_expired_marker(row: str) -> str:
    """Return SQL: the push that row `row` of `uploadedblob` belongs to no longer holds its blob."""
    return f"{row}.expires_at <= to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC'"


def is_abandoned_upload(row: str) -> str:
    """Return SQL: row `row` of `blobupload` is an unfinished upload that is too old to be resumed."""
    return f"{row}.created <= to_timestamp((%(now_ms)s - %(upload_ttl_ms)s) / 1000.0) AT TIME ZONE 'UTC'"


# Blob `b` is referred to by a manifest of the repository, or by a push into it that still runs.
REFERRED = f"""(EXISTS (SELECT FROM manifestblob m
  WHERE m.repository_id = %(repository)s AND m.blob_id = b.id)
 OR EXISTS (SELECT FROM uploadedblob u
  WHERE u.repository_id = %(repository)s AND u.blob_id = b.id AND u.expires_at > {AT}))"""

# Blob `b` is ready: its object is at some location.  `uploading` does not count, as Quay never clears it.
# OFFSET 0 forces one index probe for each row, instead of one read of the whole table for each statement.
PLACED = "EXISTS (SELECT FROM imagestorageplacement p WHERE p.storage_id = b.id OFFSET 0)"

# The location `l.name` may be the store of row `s`.  Only two different recorded identities prove that it is
# another store: a location that was renamed, or was never verified, may be the same store.
MAY_BE_SAME_STORE = """(l.name = s.location OR NOT EXISTS (
  SELECT FROM dredge_storage mine JOIN dredge_storage other ON other.identity <> mine.identity
  WHERE mine.location = s.location AND other.location = l.name))"""

# A blob row refers to the object of row `s` (a digest at a location) if it is placed there, or not placed
# yet.  A row with a placement elsewhere has another object.
OBJECT_REFERRED = f"""EXISTS (
  SELECT FROM imagestorage b LEFT JOIN imagestorageplacement p ON p.storage_id = b.id
  LEFT JOIN imagestoragelocation l ON l.id = p.location_id
  WHERE b.content_checksum = s.digest AND b.cas_path
  AND (p.id IS NULL OR {MAY_BE_SAME_STORE}) OFFSET 0)"""
