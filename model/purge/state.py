"""The state of a purge: whether it has begun, how much it has deleted, and why it fails."""

from __future__ import annotations

from typing import Literal

from model.db.backoff import backoff_ms, shortened
from model.db.clock import now_ms
from model.db.connection import execute, fetch_one, transaction
from model.errors import RegistryError
from model.gc.due.attempt import FIRST_RETRY_MS, LAST_RETRY_MS
from model.gc.failing import tell_failing_row

Kind = Literal["repository", "namespace"]


class PurgeBlocked(RegistryError):
    """Something refers to what would be purged, and Dredge does not know what to do with it."""


_BEGIN = """
INSERT INTO dredge_purge (kind, subject_id, started_ms) VALUES (%(kind)s, %(id)s, %(now_ms)s)
ON CONFLICT (kind, subject_id) DO UPDATE SET started_ms = excluded.started_ms
"""

_ADD = """
UPDATE dredge_purge SET tags = tags + %(tags)s, manifests = manifests + %(manifests)s,
    failures = 0, retry_ms = 0, last_error = NULL
WHERE kind = %(kind)s AND subject_id = %(id)s
"""

_FAIL = f"""
INSERT INTO dredge_purge AS p (kind, subject_id, failures, retry_ms, last_error)
VALUES (%(kind)s, %(id)s, 1, %(now_ms)s + %(first)s, %(error)s)
ON CONFLICT (kind, subject_id) DO UPDATE SET failures = p.failures + 1, last_error = excluded.last_error,
    retry_ms = %(now_ms)s + {backoff_ms("p.failures", "%(first)s", "%(last)s")}
RETURNING failures
"""


def has_begun(kind: Kind, subject_id: int) -> bool:
    """Return whether its purge has begun.  Then it cannot be restored.

    Call it while the row itself is locked, because a purge begins under the same lock.
    """
    row = fetch_one(
        "SELECT started_ms FROM dredge_purge WHERE kind = %s AND subject_id = %s", (kind, subject_id)
    )
    return row is not None and row.started_ms is not None


def begin(kind: Kind, subject_id: int, *, now_ms: int) -> None:
    """Note that the purge begins, in the transaction of its first batch.  After that there is no restore."""
    execute(_BEGIN, {"kind": kind, "id": subject_id, "now_ms": now_ms})


def add(kind: Kind, subject_id: int, *, tags: int, manifests: int) -> None:
    """Count what a batch deleted, in its transaction."""
    execute(_ADD, {"kind": kind, "id": subject_id, "tags": tags, "manifests": manifests})


def forget(kind: Kind, subject_id: int) -> None:
    """Delete the state of a purge that is done or cancelled.  Idempotent."""
    execute("DELETE FROM dredge_purge WHERE kind = %s AND subject_id = %s", (kind, subject_id))


def record_failure(kind: Kind, subject_id: int, error: str) -> None:
    """Note the error and the next try: 30 seconds later; each failure doubles that time, up to a day.

    The fifth failure records `registry.work.failing`.
    """
    with transaction():
        params = {"kind": kind, "id": subject_id, "error": shortened(error), "now_ms": now_ms()}
        row = fetch_one(_FAIL, {**params, "first": FIRST_RETRY_MS, "last": LAST_RETRY_MS})
        tell_failing_row("purge", kind, subject_id, tries=row.failures, reason=shortened(error))
