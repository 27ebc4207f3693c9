"""What a push does about requests that may still reach its digest's object."""

from __future__ import annotations

from model.db.arrays import BigIntArray
from model.db.connection import execute, fetch, fetch_one
from model.db.fragments import MAY_BE_SAME_STORE
from model.db.queue_start import HURRIED_MS
from model.errors import DigestBusy

_LOCK_TOMBSTONES = f"""
SELECT s.id FROM dredge_tombstone s CROSS JOIN imagestoragelocation l
WHERE s.digest = %(digest)s AND s.path = %(path)s AND l.name = %(location)s AND {MAY_BE_SAME_STORE}
ORDER BY s.id FOR UPDATE OF s
"""

_CANCEL = f"""
WITH cancelled AS (
    DELETE FROM dredge_tombstone WHERE id = ANY(%(ids)s) AND location = %(location)s AND NOT set_aside
), hurried AS (
    UPDATE dredge_tombstone SET due_ms = %(now)s WHERE id = ANY(%(ids)s) AND set_aside
)
UPDATE dredge_quarantine SET look_ms = {HURRIED_MS}
WHERE digest = %(digest)s AND path = %(path)s AND look_ms > %(now)s AND tries = 0
"""


def cancel_tombstone(digest: str, path: str, location: str, now_ms: int) -> None:
    """Take back the order to erase this object; orders for the digest's other objects stand.

    Waits for the short transaction of an eraser that holds the row, and only then, in a new statement,
    looks at its fence.  Where an eraser may have moved the object into the trash, its row stays: the
    eraser puts the object back for those who refer to it, also if this push never ends.
    """
    where = {"digest": digest, "path": path, "location": location, "now": now_ms}
    ids = [row.id for row in fetch(_LOCK_TOMBSTONES, where)]
    fence = fetch_one(
        "SELECT max(fenced_until_ms) AS until_ms FROM dredge_tombstone WHERE id = ANY(%s)",
        (BigIntArray(ids),),
    )
    # A request that was sent and never answered may land until then: writing now could lose the object.
    if (fence.until_ms or 0) > now_ms:
        raise DigestBusy(digest=digest, until_ms=fence.until_ms)
    # Safe: the rows are locked and none is fenced, so no request is under way, and the push's own row
    # keeps the eraser from sending another.
    execute(_CANCEL, {**where, "ids": BigIntArray(ids)})
