"""Repositories whose collection fails: they back off, are visible, and block nobody."""

from __future__ import annotations

from model.db.clock import now_ms
from model.db.connection import execute, transaction
from model.db.tables import RepositoryState

_MARKED = int(RepositoryState.MARKED_FOR_DELETION)
FIRST_RETRY_MS = 30_000
LAST_RETRY_MS = 24 * 3_600_000


def record_failure(repository_id: int, error: str) -> None:
    """Leave the repository out of scans for a while: 30 seconds, doubled by each failure, to a day."""
    with transaction():
        execute(
            "INSERT INTO dredge_failure AS f (repository_id, failures, retry_ms, last_error)"
            " VALUES (%(id)s, 1, %(now)s + %(first)s, %(error)s)"
            " ON CONFLICT (repository_id) DO UPDATE SET failures = f.failures + 1,"
            " last_error = excluded.last_error, retry_ms = %(now)s"
            " + least(%(last)s, %(first)s * power(2, least(f.failures, 20)))::bigint",
            {
                "id": repository_id,
                "now": now_ms(),
                "first": FIRST_RETRY_MS,
                "last": LAST_RETRY_MS,
                "error": error[:500],
            },
        )


def forget_gone() -> int:
    """Delete failures of repositories that are gone or marked for deletion.  Returns the number of rows."""
    return execute(
        "DELETE FROM dredge_failure f WHERE NOT EXISTS"
        f" (SELECT FROM repository r WHERE r.id = f.repository_id AND r.state <> {_MARKED})"
    )


def clear_failure(repository_id: int) -> None:
    """The repository was collected: forget its failures; again, nothing changes."""
    execute("DELETE FROM dredge_failure WHERE repository_id = %s", (repository_id,))
