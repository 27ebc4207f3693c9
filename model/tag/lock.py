"""The lock that tag operations of one repository take, the same one that Quay takes."""

from __future__ import annotations

import hashlib

from model.db.clock import NOW_MS_SQL
from model.db.connection import fetch, fetch_one

OWN_CHANGES = "dredge.own"
# A frozen session that holds the lock must not freeze every service that deletes a tag.
LOCK_TIMEOUT = "10s"


def lock_id(repository_id: int) -> int:
    """The key of the repository's advisory lock.

    Quay's `retarget_tag` takes the signed 64-bit number in the first eight bytes of the SHA-256
    of `retarget_tag:<id>` (big-endian): the same key makes a live Quay and us wait for each other.
    """
    digest = hashlib.sha256(f"retarget_tag:{repository_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def lock_repository_tags(repository_id: int) -> int:
    """Wait for the repository's tag lock, hold it until the transaction ends; the time once it is held.

    Waits for any lock of this transaction at most `LOCK_TIMEOUT`, unless the session has a limit of
    its own, and raises `Contended` then.  Also says that this transaction's changes are our own (see
    `mark_own_changes`).  Taking it again in the same transaction is free.
    """
    row = fetch_one(
        "WITH limited AS MATERIALIZED (SELECT set_config(%s, 'on', true), set_config('lock_timeout',"
        "   coalesce(nullif(current_setting('lock_timeout'), '0'), %s), true)),"
        " held AS MATERIALIZED (SELECT pg_advisory_xact_lock(%s) FROM limited)"
        f" SELECT {NOW_MS_SQL} AS now_ms FROM held",
        (OWN_CHANGES, LOCK_TIMEOUT, lock_id(repository_id)),
    )
    return int(row.now_ms)


def mark_own_changes() -> None:
    """Tell the optional trigger that this transaction writes its own events."""
    fetch("SELECT set_config(%s, 'on', true)", (OWN_CHANGES,))
