"""Run the model's statements on a real PostgreSQL, to compare the model with the server.

Each session has a connection that never blocks this process.  A statement without an answer waits for a
lock if `pg_blocking_pids` says so.
"""

from __future__ import annotations

import select
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg2
from psycopg2 import errors, extensions

from bench.model.database import PARENTS
from bench.model.operations import (
    Advisory,
    Deadlock,
    Delete,
    End,
    ForeignKey,
    Insert,
    Lock,
    Row,
    Select,
    Statement,
    Update,
    Where,
)

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "namespace": {"window": "int"},
    "manifest": {},
    "blob": {"digest": "text", "location": "text", "ready": "bool"},
    "manifestblob": {"manifest": "int", "blob": "int"},
    "marker": {"blob": "int"},
    "tag": {"name": "text", "manifest": "int", "ended": "int"},
    "candidate": {"blob": "int"},
    "candidate_manifest": {"manifest": "int"},
    "tombstone": dict.fromkeys(("digest", "location", "state", "token"), "text")
    | dict.fromkeys(("due", "leased", "sent"), "int"),
    "fence": {"tombstone": "int", "digest": "text", "until": "int"},
}
MODES = ("KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE")
PATIENCE_S = 20.0


def schema() -> str:
    """Return the statements that create the model's tables."""
    made = []
    for table, columns in COLUMNS.items():
        keys = {column: f" REFERENCES {_name(parent)}" for column, parent in PARENTS.get(table, ())}
        fields = [f"{_name(column)} {kind}{keys.get(column, '')}" for column, kind in columns.items()]
        made.append(f"CREATE TABLE {_name(table)} ({', '.join(['id int PRIMARY KEY', *fields])})")
    return ";".join(made)


def _name(name: str) -> str:
    return f'"model_{name}"' if name in COLUMNS else f'"{name}"'


class Server:
    """A database with the model's tables, and a pool of sessions."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.control = psycopg2.connect(url)
        self.control.autocommit = True
        self._do(schema())
        self._free: list[extensions.connection] = []
        self._used: list[PostgresSession] = []

    def _do(self, sql: str, values: Sequence[Any] = ()) -> Any:
        with self.control.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else None

    def load(self, tables: Mapping[str, Sequence[Row]]) -> None:
        """Replace all rows by the given ones."""
        self._do("TRUNCATE " + ", ".join(map(_name, COLUMNS)))
        for table in COLUMNS:
            for row in tables.get(table, ()):
                sql, values = _insert(Insert(table, row))
                self._do(sql, values)

    def rows(self, table: str) -> list[Row]:
        """Return the committed rows, in the order of their IDs."""
        names = ["id", *COLUMNS[table]]
        found = self._do(f"SELECT {', '.join(map(_name, names))} FROM {_name(table)} ORDER BY id")
        return [dict(zip(names, row, strict=True)) for row in found]

    def waits(self, pid: int) -> bool:
        """Return whether this backend waits for a lock."""
        return bool(self._do("SELECT cardinality(pg_blocking_pids(%s)) > 0", (pid,))[0][0])

    def session(self) -> PostgresSession:
        """Return a connection for one program."""
        made = PostgresSession(self, self._free.pop() if self._free else self._connect())
        self._used.append(made)
        return made

    def _connect(self) -> extensions.connection:
        # The last waiting transaction completes the deadlock and is the victim, as in the model.
        options = "-c deadlock_timeout=1ms"
        opened = psycopg2.connect(self.url, async_=True, options=options)
        _finish(opened)
        return opened

    def reuse(self) -> None:
        """Make every session available again.  All must have ended their transactions."""
        self._free += [session.connection for session in self._used]
        self._used = []

    def close(self) -> None:
        """Close every connection."""
        self.reuse()
        for connection in (*self._free, self.control):
            connection.close()


def _finish(connection: extensions.connection) -> None:
    while (state := connection.poll()) != extensions.POLL_OK:
        waiting = [connection]
        select.select(
            waiting if state == extensions.POLL_READ else [],
            waiting if state == extensions.POLL_WRITE else [],
            [],
            PATIENCE_S,
        )


class PostgresSession:
    """`bench.model.run.AnySession` on a real server."""

    def __init__(self, server: Server, connection: extensions.connection) -> None:
        self.server, self.connection = server, connection
        self.cursor = connection.cursor()
        self.open = False
        self._busy = False
        self._statement: Statement | None = None

    def execute(self, statement: Statement) -> tuple[bool, Any]:
        """Send the statement.  Returns (False, None) if it waits for a lock."""
        if isinstance(statement, End):
            self._run("COMMIT" if statement.commit else "ROLLBACK")
            self.open = False
            return True, None
        if not self.open:
            self._run("BEGIN")
            self.open = True
        self._statement = statement
        sql, values = translate(statement)
        self.cursor.execute(sql, values)
        self._busy = True
        return self._await(0.002)

    def go_on(self) -> tuple[bool, Any]:
        """Check whether the answer has arrived."""
        return self._await(0.0)

    def _await(self, patience_s: float) -> tuple[bool, Any]:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                if self.connection.poll() == extensions.POLL_OK:
                    self._busy = False
                    return True, self._result()
            except errors.DeadlockDetected as error:
                self._busy = False
                raise Deadlock from error
            except errors.ForeignKeyViolation as error:
                self._busy = False
                raise ForeignKey(str(error)) from error
            if not select.select([self.connection], [], [], patience_s)[0]:
                waits = self.server.waits(self.connection.info.backend_pid)
                if waits and not select.select([self.connection], [], [], 0)[0]:
                    return False, None
                patience_s = 0.001
        raise TimeoutError("the statement neither ended nor waits for a lock")

    def _result(self) -> Any:
        statement = self._statement
        if isinstance(statement, Advisory):
            return self.cursor.fetchall()[0][0] is not False
        if isinstance(statement, Insert) or statement is None or isinstance(statement, End):
            return None
        names = ["id", *COLUMNS[statement.table]]
        found = [dict(zip(names, row, strict=True)) for row in self.cursor.fetchall()]
        return sorted(found, key=lambda row: int(row["id"]))

    def _run(self, sql: str) -> None:
        self.cursor.execute(sql)
        _finish(self.connection)

    def rollback(self) -> None:
        """End the transaction, even if its statement waits."""
        if self._busy:
            self.connection.cancel()
            with suppress(psycopg2.Error):
                _finish(self.connection)
            self._busy = False
        if self.open:
            self._run("ROLLBACK")
            self.open = False


def translate(statement: Statement) -> tuple[str, list[Any]]:
    """Translate the statement to SQL."""
    if isinstance(statement, Advisory):
        call = "pg_try_advisory_xact_lock" if statement.skip else "pg_advisory_xact_lock"
        return f"SELECT {call}(hashtext(%s))", [statement.key]
    if isinstance(statement, Insert):
        return _insert(statement)
    assert isinstance(statement, Select | Lock | Update | Delete)
    table = _name(statement.table)
    names = ", ".join(map(_name, ["id", *COLUMNS[statement.table]]))
    where, values = _conditions(statement.where, getattr(statement, "upto", {}))
    if isinstance(statement, Delete):
        return f"DELETE FROM {table}{where} RETURNING {names}", values
    if isinstance(statement, Update):
        changes = ", ".join(f"{_name(column)} = %s" for column in statement.values)
        return f"UPDATE {table} SET {changes}{where} RETURNING {names}", [*statement.values.values(), *values]
    ending = f" FOR {MODES[statement.mode]}" if isinstance(statement, Lock) else ""
    ending += " SKIP LOCKED" if isinstance(statement, Lock) and statement.skip else ""
    return f"SELECT {names} FROM {table}{where} ORDER BY id{ending}", values


def _insert(statement: Insert) -> tuple[str, list[Any]]:
    row = statement.row
    names, marks = ", ".join(map(_name, row)), ", ".join(["%s"] * len(row))
    return f"INSERT INTO {_name(statement.table)} ({names}) VALUES ({marks})", list(row.values())


def _conditions(where: Where, upto: Where) -> tuple[str, list[Any]]:
    parts, values = [], []
    for column, value in where.items():
        parts.append(f"{_name(column)} = {'ANY(%s)' if isinstance(value, tuple) else '%s'}")
        values.append(list(value) if isinstance(value, tuple) else value)
    for column, value in upto.items():
        parts.append(f"{_name(column)} <= %s")
        values.append(value)
    return (" WHERE " + " AND ".join(parts) if parts else ""), values
