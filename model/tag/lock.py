"""The lock that tag operations of one repository take, the same one that Quay takes."""

from __future__ import annotations

import hashlib

from model.db.clock import NOW_MS_SQL
from model.db.connection import fetch, fetch_one

OWN_CHANGES = "dredge.own"


def lock_id(repository_id: int) -> int:
    """The key of the repository's advisory lock.

    Quay's `retarget_tag` takes the signed 64-bit number in the first eight bytes of the SHA-256
    of `retarget_tag:<id>` (big-endian): the same key makes a live Quay and us wait for each other.
    """
    digest = hashlib.sha256(f"retarget_tag:{repository_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock_repository_tags(repository_id: int) -> int:
    """Wait for the repository's tag lock, hold it until the transaction ends; the time once it is held.

    Waits at most the session's `lock_timeout` and raises `Contended` then.  Also says that this
    transaction's changes are our own (see `mark_own_changes`).  Taking it again is free.
    """
    row = fetch_one(
        "WITH marked AS MATERIALIZED (SELECT set_config(%s, 'on', true)),"
        " held AS MATERIALIZED (SELECT pg_advisory_xact_lock(%s) FROM marked)"
        f" SELECT {NOW_MS_SQL} AS now_ms FROM held",
        (OWN_CHANGES, lock_id(repository_id)),
    )
    return int(row.now_ms)


def mark_own_changes() -> None:
    """Tell the optional trigger that this transaction writes its own events."""
    fetch("SELECT set_config(%s, 'on', true)", (OWN_CHANGES,))
