"""Write rows directly, without `model.db.connection` and its hooks."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from typing import Any

import psycopg2
from psycopg2 import sql as pg


class Row(int):
    """A row's ID, with its facts as attributes."""

    def __new__(cls, id: int, **facts: Any) -> Row:
        made = super().__new__(cls, id)
        made.__dict__.update(facts)
        return made

    @property
    def id(self) -> int:
        return int(self)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this row has no fact {name!r}, only {sorted(self.__dict__)}")


def timestamp(ms: int) -> datetime:
    """Return a time as Quay stores it: in UTC without a zone."""
    return datetime.fromtimestamp(ms / 1000, UTC).replace(tzinfo=None)


class Rows:
    """A connection in autocommit mode, and functions that write rows."""

    def __init__(self, url: str, session: Any = None) -> None:
        """Use a session in autocommit mode, or connect."""
        self.url = url
        self._owns_connection = session is None
        self._connection = session or psycopg2.connect(url)
        self._connection.autocommit = True
        self._numbers = itertools.count(1)
        self._lookups: dict[tuple[str, str], int] = {}
        self._defaults: dict[str, Row] = {}
        self.now_ms = int(time.time() * 1000)

    def close(self) -> None:
        """Close the connection, if this object has made it."""
        if self._owns_connection:
            self._connection.close()

    def rows(self, statement: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Return all rows of a statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, params: Any = None) -> Any:
        """Return the first column of the first row, or None."""
        found = self.rows(statement, params)
        return found[0][0] if found else None

    def execute(self, statement: str, params: Any = None) -> int:
        """Run a statement.  Returns the number of changed rows."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement, params)
            return int(cursor.rowcount)

    def insert(self, table: str, **columns: Any) -> int:
        """Insert a row.  Returns its ID."""
        statement = pg.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
            pg.Identifier(table),
            pg.SQL(", ").join(map(pg.Identifier, columns)),
            pg.SQL(", ").join(pg.Placeholder() * len(columns)),
        )
        return int(self.value(statement.as_string(self._connection), list(columns.values())))

    def lookup(self, table: str, name: str) -> int:
        """Return the ID of a lookup row, which is inserted if it is missing."""
        key = (table, name)
        if key not in self._lookups:
            found = self.value(f"SELECT id FROM {table} WHERE name = %s", (name,))
            self._lookups[key] = found or self.insert(table, name=name)
        return self._lookups[key]
