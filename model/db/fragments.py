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
PLACED = "EXISTS (SELECT FROM imagestorageplacement p WHERE p.storage_id = b.id)"
