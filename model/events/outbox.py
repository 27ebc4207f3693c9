"""The outbox for the relay: which events to publish, in which order, and how long their rows stay."""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg2

from model.db.arrays import BigIntArray
from model.db.clock import NOW_MS_SQL
from model.db.connection import db, execute, fetch, fetch_one
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
    """Take the relay's lock until the transaction ends; False while another relay has it.

    Does not wait.  PostgreSQL releases the lock of a dead relay.
    """
    return bool(
        fetch_one("SELECT pg_try_advisory_xact_lock(hashtextextended('dredge.relay', 0)) AS held").held
    )


# The list is read once: for a look-up of each row the server may choose an index of all keys of the stage.
_IS_DUE = f"""e.published_ms IS NULL AND e.id >= %(from_id)s
          AND e.id::text <> ALL (ARRAY(SELECT p.key FROM dredge_poison p
                                       WHERE p.stage = 'relay' AND p.due_ms > (SELECT {NOW_MS_SQL})))"""

# Leaves out rows that are set aside until their next try.
_UNPUBLISHED = f"""
SELECT id, event_id, type, subject, data, created_ms FROM (
    SELECT *, sum(length(data)) OVER (ORDER BY id) - length(data) AS bytes_before FROM (
        SELECT * FROM dredge_event e WHERE {_IS_DUE}
        ORDER BY e.id LIMIT %(limit)s) AS oldest
    ) AS measured
WHERE bytes_before < %(max_bytes)s ORDER BY id
"""


_LAST = f"""
SELECT max(id) AS id FROM (
    SELECT e.id FROM dredge_event e WHERE {_IS_DUE} ORDER BY e.id LIMIT %(limit)s) oldest
"""


def find_last(*, limit: int, from_id: int = 0) -> int | None:
    """Return the id of the last of the oldest `limit` unpublished rows, or None if there are none.

    Reads only `from_id` and later ones (`model.db.queue_start`).
    """
    found: int | None = fetch_one(_LAST, {"limit": limit, "from_id": from_id}).id
    return found


_UNPUBLISHED_ROW = """
SELECT id, event_id, type, subject, data, created_ms FROM dredge_event
    WHERE id = %s AND published_ms IS NULL
"""


def find_unpublished_row(row_id: int) -> list[OutboxRow]:
    """Return this row if it is unpublished, also if it is set aside; only reads."""
    return [OutboxRow(*row) for row in fetch(_UNPUBLISHED_ROW, (row_id,))]


def find_unpublished(*, limit: int, max_bytes: int, from_id: int = 0) -> list[OutboxRow]:
    """Return the oldest unpublished rows in id order: at most `limit`, and about `max_bytes` of data.

    Reads only `from_id` and later ones (`model.db.queue_start`).

    Within a repository the order of ids is the order of commits, because each change holds a lock of the
    repository until its commit.  Leaves out rows that are set aside until their next try.  Only reads.
    """
    params = {"limit": limit, "max_bytes": max_bytes, "from_id": from_id}
    return [OutboxRow(*row) for row in fetch(_UNPUBLISHED, params)]


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


_PRUNE = """
DELETE FROM dredge_event WHERE id IN (
    SELECT id FROM dredge_event WHERE published_ms < %s ORDER BY published_ms LIMIT %s
    FOR UPDATE SKIP LOCKED)
"""


def prune_published(*, before_ms: int, limit: int) -> int:
    """Delete at most `limit` rows published before `before_ms`, oldest first.  Returns how many were deleted.

    Never deletes an unpublished row.  Idempotent.
    """
    return execute(_PRUNE, (before_ms, limit))


def count_unpublished() -> int:
    """Return how many rows wait for the relay."""
    return int(fetch_one("SELECT count(*) AS n FROM dredge_event WHERE published_ms IS NULL").n)


class Listener:
    """Waits for notifications of committed events (LISTEN), on a connection of its own.

    Does not use peewee, because waiting on a socket is not a statement.  It only makes the relay faster:
    behind a pooler no notification arrives, and the relay polls.
    """

    def __init__(self) -> None:
        self._connection: Any = None

    def wait(self, timeout_s: float) -> bool:
        """Return True as soon as an event was committed, False after `timeout_s`.

        Connects if it is not connected, and then returns True, because events may have come before.
        Raises `DatabaseUnavailable`; the next call connects again.
        """
        try:
            if db.pooled:
                # LISTEN would stay on a session of the server that another client uses a moment later.
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
        """Disconnect.  Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _listening() -> Any:
    connection = db.open_session()
    with connection.cursor() as cursor:
        cursor.execute(f"LISTEN {CHANNEL}")
    return connection
