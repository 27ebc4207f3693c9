"""The lock of tag operations of one repository.  Quay takes the same lock."""

from __future__ import annotations

import hashlib

from model.db.clock import NOW_MS_SQL
from model.db.connection import fetch, fetch_one

OWN_CHANGES = "dredge.own"


def lock_id(repository_id: int) -> int:
    """Return the key of the repository's advisory lock.

    Quay's `retarget_tag` takes the signed 64-bit number in the first eight bytes of the SHA-256
    of `retarget_tag:<id>` (big-endian).  With the same key Dredge and a live Quay wait for each other.
    """
    digest = hashlib.sha256(f"retarget_tag:{repository_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


_LOCK = f"""
WITH marked AS MATERIALIZED (SELECT set_config(%s, 'on', true)),
    held AS MATERIALIZED (SELECT pg_advisory_xact_lock(%s) FROM marked)
    SELECT {NOW_MS_SQL} AS now_ms FROM held
"""


def lock_repository_tags(repository_id: int) -> int:
    """Lock the repository's tags until the transaction ends.  Returns the time in ms once the lock is held.

    Waits at most the session's `lock_timeout`, then raises `Contended`.  Also calls `mark_own_changes`
    for this transaction.  Idempotent in a transaction.
    """
    row = fetch_one(_LOCK, (OWN_CHANGES, lock_id(repository_id)))
    return int(row.now_ms)


def mark_own_changes() -> None:
    """Tell the optional trigger that this transaction writes its own events."""
    fetch("SELECT set_config(%s, 'on', true)", (OWN_CHANGES,))
