"""Our own rows whose repository or blob no longer exists: no collection visits them."""

from __future__ import annotations

from model.db.connection import execute
from model.gc.due.note import forget_gone

_FORGET_CANDIDATES = """
DELETE FROM dredge_manifest_candidate WHERE id IN (
    SELECT s.id FROM dredge_manifest_candidate s
    WHERE NOT EXISTS (SELECT FROM repository r WHERE r.id = s.repository_id) ORDER BY s.id LIMIT %s)
"""

_FORGET_PUSHES = """
DELETE FROM dredge_push WHERE blob_id IN (
    SELECT s.blob_id FROM dredge_push s
    WHERE NOT EXISTS (SELECT FROM imagestorage b WHERE b.id = s.blob_id) LIMIT %s)
"""


def forget_lost_owners(*, limit: int) -> int:
    """Delete at most `limit` rows of each kind.  Returns how many.  Idempotent."""
    # Safe: PostgreSQL never uses the id of a repository again.
    candidates = execute(_FORGET_CANDIDATES, (limit,))
    # Safe: nor the id of a blob.  What deleted the row ordered the erasing of its object, or the sweep does.
    pushes = execute(_FORGET_PUSHES, (limit,))
    return candidates + pushes + forget_gone(limit=limit)
