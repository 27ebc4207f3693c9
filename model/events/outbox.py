"""The outbox from the relay's side: what is to be published, in which order, and for how long it stays."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg2

from model.db.clock import NOW_MS_SQL
from model.db.connection import BigIntArray, db, execute, fetch, fetch_one
from model.errors import DatabaseUnavailable
from model.events.record import CHANNEL


class OutboxRow(NamedTuple):
    """One row of `dredge_event`; `data` is JSON text."""

    id: int
    event_id: str
    type: str
    subject: str
    data: str
    created_ms: int


def try_relay_lock() -> bool:
    """Take the relay's lock until the transaction ends; False while another relay holds it.

    Never waits, and is gone with its holder: no dead relay keeps the others out.
    """
    return bool(
        fetch_one("SELECT pg_try_advisory_xact_lock(hashtextextended('dredge.relay', 0)) AS held").held
    )


# What cannot be published waits for its next try, and nothing waits for it.
_UNPUBLISHED = f"""
SELECT id, event_id, type, subject, data, created_ms FROM (
    SELECT *, sum(length(data)) OVER (ORDER BY id) - length(data) AS bytes_before FROM (
        SELECT * FROM dredge_event e WHERE e.published_ms IS NULL
          AND NOT EXISTS (SELECT FROM dredge_poison p
                          WHERE p.stage = 'relay' AND p.key = e.id::text AND p.due_ms > {NOW_MS_SQL})
        ORDER BY e.id LIMIT %s) AS oldest
    ) AS measured
WHERE bytes_before < %s ORDER BY id
"""


def find_unpublished(*, limit: int, max_bytes: int) -> list[OutboxRow]:
    """The oldest unpublished rows in id order: at most `limit`, and about `max_bytes` of data.

    The order of ids is the order of commits within a repository, because its changes serialise on
    a lock that is held until the commit.  Rows that are set aside are left out until their next try.
    """
    return [OutboxRow(*row) for row in fetch(_UNPUBLISHED, (limit, max_bytes))]


_PUBLISHED = """
WITH cleared AS (
    DELETE FROM dredge_poison WHERE stage = 'relay' AND key = ANY(%(ids)s::text[])
)
UPDATE dredge_event SET published_ms = %(now_ms)s WHERE id = ANY(%(ids)s) AND published_ms IS NULL
"""


def mark_published(row_ids: Sequence[int], *, now_ms: int) -> int:
    """Mark these rows as published; none of them is set aside any more.

    Returns how many were not marked before.
    """
    return execute(_PUBLISHED, {"ids": BigIntArray(row_ids), "now_ms": now_ms})


def unpublish_all() -> int:
    """Mark every retained event as unpublished.  Returns the number of rows.

    One statement, so that no relay sees a later row of a repository without the earlier ones.
    """
    return execute("UPDATE dredge_event SET published_ms = NULL WHERE published_ms IS NOT NULL")


def prune_published(*, before_ms: int, limit: int) -> int:
    """Delete at most `limit` rows published before `before_ms`, oldest first.  Returns how many were deleted.

    An unpublished row is never touched: it is a debt.
    """
    return execute(
        "DELETE FROM dredge_event WHERE id IN ("
        " SELECT id FROM dredge_event WHERE published_ms < %s ORDER BY published_ms LIMIT %s"
        " FOR UPDATE SKIP LOCKED)",
        (before_ms, limit),
    )


def count_unpublished() -> int:
    """Return how many rows wait for the relay."""
    return int(fetch_one("SELECT count(*) AS n FROM dredge_event WHERE published_ms IS NULL").n)


class Listener:
    """Hears that an event was committed (LISTEN), on a connection of its own.

    The one place that goes past peewee: waiting on a socket is not a statement.  It only makes the
    relay prompt; behind a pooler no notification arrives, and the relay's polling remains.
    """

    def __init__(self) -> None:
        self._connection: Any = None

    def wait(self, timeout_s: float) -> bool:
        """True as soon as something was committed, False after `timeout_s`.

        Connects when it is not connected, and then returns True: what came before is unknown.
        Raises `DatabaseUnavailable`; the next call connects again.
        """
        try:
            if db.pooled:
                # LISTEN would stay on a session of the server that is somebody else's a moment later.
                time.sleep(timeout_s)
                return False
            if self._connection is None:
                self._connection = _listening()
                return True
            select.select([self._connection], [], [], timeout_s)
            self._connection.poll()
        except (psycopg2.Error, OSError, ValueError) as error:
            self.close()
            raise DatabaseUnavailable(f"The database did not answer: {error}".strip()) from error
        notified = bool(self._connection.notifies)
        self._connection.notifies.clear()
        return notified

    def close(self) -> None:
        """Disconnect; again does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _listening() -> Any:
    connection = db.open_session()
    with connection.cursor() as cursor:
        cursor.execute(f"LISTEN {CHANNEL}")
    return connection
