"""The connection: one proxy, one kind of transaction, and foreign errors made ours.

Every statement of the project goes through `db.execute_sql`, so that one hook there sees
them all: it is how benchmarks count them and how tests stop between any two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import peewee
import psycopg2.errors
from playhouse.pool import MaxConnectionsExceeded

from model.db import dsn
from model.db.session import Database, Inherited, inherited_sql
from model.errors import Contended, DatabaseUnavailable, SchemaMismatch

db = peewee.DatabaseProxy()

_CONTENTION = (
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.SerializationFailure,
)
_MISSING = (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn)
_OUTAGE = (peewee.OperationalError, peewee.InterfaceError, MaxConnectionsExceeded)


def may_prepare() -> bool:
    """False behind a pooler that gives each transaction another session of the server."""
    return not db.obj.pooled


def configure(
    url: str, *, application_name: str = "dredge", max_connections: int = 8, pooled: bool = False
) -> None:
    """Point the proxy at `url` (postgresql://…); opens nothing until the first statement.

    A second call closes what the first opened in this thread and points elsewhere.  `pooled` says
    that a pooler gives each transaction another session of the server.  Raises `BadInput`.
    """
    made = Database(
        dsn.parse(url),
        pooled=pooled,
        max_connections=max_connections,
        stale_timeout=300,
        timeout=10,
        application_name=application_name,
    )
    if db.obj is not None:
        db.close_all()
    db.initialize(made)


def disown() -> None:
    """In a forked child: forget the parent's pool without closing its connections, then `configure` anew.

    Closing one would say goodbye to the server in the parent's name.
    """
    if db.obj is not None:
        _inherited.append(db.obj)
        db.obj = None


_inherited: list[Any] = []


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into the model's: `Contended` or `DatabaseUnavailable`."""
    try:
        yield
    except peewee.OperationalError as error:
        cause = getattr(error, "orig", None) or error.__cause__ or error.__context__
        if isinstance(cause, _CONTENTION):
            raise Contended() from error
        raise DatabaseUnavailable(f"The database did not answer: {_first_line(error)}") from error
    except peewee.ProgrammingError as error:
        cause = getattr(error, "orig", None) or error.__cause__ or error.__context__
        if not isinstance(cause, _MISSING):
            raise
        raise SchemaMismatch(f"{_first_line(error)}: run `dredge init`, or see `dredge check`") from error
    except _OUTAGE as error:
        raise DatabaseUnavailable(f"The database did not answer: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def connection() -> Iterator[None]:
    """Hold one pooled connection for the block; nested blocks share it.

    One that the server has ended meanwhile is replaced, unless a transaction was lost with it.
    """
    with translated():
        if _is_dead():
            db.close()
        if not db.is_closed():
            yield
            return
        db.connect()
        try:
            yield
        finally:
            db.close()


def _is_dead() -> bool:
    """Is this thread's connection open for us and closed by the server?  Nobody else would notice."""
    return not db.is_closed() and not db.in_transaction() and bool(db.connection().closed)


@contextmanager
def transaction() -> Iterator[None]:
    """One READ COMMITTED transaction; a nested one joins it as a savepoint.

    Raises `Contended` (try again) or `DatabaseUnavailable`; every other error rolls back and passes.
    """
    with connection(), db.atomic():
        yield


@contextmanager
def whole_tables() -> Iterator[None]:
    """A transaction that reads whole tables: by scans, and for as long as that takes."""
    with transaction():
        execute("SET LOCAL enable_seqscan = on")
        execute("SET LOCAL enable_bitmapscan = on")
        lift_statement_timeout()
        yield


def lift_statement_timeout() -> None:
    """Let the statements of this transaction take as long as they need: for reads and our own tables."""
    execute("SET LOCAL statement_timeout = 0")


def find_inherited() -> list[Inherited]:
    """The parameters that a role, a database or the server sets, and that our sessions replace."""
    sql, params = inherited_sql()
    return [Inherited(*row) for row in fetch(sql, params)]


def in_transaction() -> bool:
    """True inside `transaction()`."""
    return bool(db.in_transaction())


def fetch(sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> list[Any]:
    """All rows of one statement, as named tuples with the statement's column names."""
    if db.in_transaction():  # the transaction holds the connection
        return _fetch(sql, params)
    with connection():
        return _fetch(sql, params)


def _fetch(sql: str, params: Mapping[str, Any] | Sequence[Any] | None) -> list[Any]:
    cursor = db.execute_sql(sql, params)
    if cursor.description is None:
        return []
    row = _row_type(tuple([column[0] for column in cursor.description]))
    return list(map(row._make, cursor.fetchall()))


def fetch_one(sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> Any:
    """The first row of one statement, or None."""
    found = fetch(sql, params)
    return found[0] if found else None


def execute(sql: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> int:
    """Run one statement.  Returns the number of rows that it changed."""
    with connection():
        return int(db.execute_sql(sql, params).rowcount)


def ids(query: Iterable[Any]) -> list[int]:
    """The first column of a peewee query, as a list."""
    return [row[0] for row in query.tuples()]  # type: ignore[attr-defined]


class IntArray:
    """Ids as one `'{1,2,3}'::int[]` literal: the server parses it far faster than `ARRAY[…]`.

    The element type is the column's: a comparison across types cannot be hashed.
    """

    type = "int"

    def __init__(self, values: Iterable[int]) -> None:
        self.literal = "'{" + ",".join(map(int.__repr__, values)) + f"}}'::{self.type}[]"

    def getquoted(self) -> bytes:
        """psycopg2's hook for client-side parameters."""
        return self.literal.encode()

    def __conform__(self, protocol: object) -> IntArray:
        return self


class BigIntArray(IntArray):
    """The same for `bigint` columns."""

    type = "bigint"


_row_types: dict[tuple[str, ...], Any] = {}


def _row_type(names: tuple[str, ...]) -> Any:
    if names not in _row_types:
        _row_types[names] = NamedTuple("Row", [(name, Any) for name in names])
    return _row_types[names]
