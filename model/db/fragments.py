"""How a repository reaches a blob: the one condition that pushes, mounts and reads share."""

from __future__ import annotations

# A database timestamp (without a zone, in UTC) of a parameter in milliseconds.
AT = "to_timestamp(%(at)s / 1000.0) AT TIME ZONE 'utc'"
UNTIL = "to_timestamp(%(until)s / 1000.0) AT TIME ZONE 'utc'"

# Blob `b` is referred to by a manifest of the repository, or by a push into it that still runs.
REFERRED = f"""(EXISTS (SELECT FROM manifestblob m
  WHERE m.repository_id = %(repository)s AND m.blob_id = b.id)
 OR EXISTS (SELECT FROM uploadedblob u
  WHERE u.repository_id = %(repository)s AND u.blob_id = b.id AND u.expires_at > {AT}))"""

# Blob `b` is ready: its object lies somewhere.  A Quay never clears `uploading`, so that says nothing.
# OFFSET 0: a probe for each row, instead of reading the whole table once for each statement.
PLACED = "EXISTS (SELECT FROM imagestorageplacement p WHERE p.storage_id = b.id OFFSET 0)"

# The location named `l.name` may be the store of row `s`.  Only two recorded identities that differ prove
# that it is another one: a location that was renamed, or that nobody has looked at yet, may be the same.
MAY_BE_SAME_STORE = """(l.name = s.location OR NOT EXISTS (
  SELECT FROM dredge_storage mine JOIN dredge_storage other ON other.identity <> mine.identity
  WHERE mine.location = s.location AND other.location = l.name))"""

# A blob row refers to the object of row `s` (a digest at a location): one that is placed there, or nowhere
# yet.  A row that is placed elsewhere only has its own object there.
OBJECT_REFERRED = f"""EXISTS (
  SELECT FROM imagestorage b LEFT JOIN imagestorageplacement p ON p.storage_id = b.id
  LEFT JOIN imagestoragelocation l ON l.id = p.location_id
  WHERE b.content_checksum = s.digest AND b.cas_path
  AND (p.id IS NULL OR {MAY_BE_SAME_STORE}) OFFSET 0)"""
