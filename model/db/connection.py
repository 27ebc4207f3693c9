"""The connection to the database: one proxy, one kind of transaction, and the driver's errors translated.

Every statement of the project goes through `db.execute_sql`.  So one hook there sees them all: benchmarks
count statements there, and tests stop between any two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import peewee
import psycopg2
from playhouse.pool import MaxConnectionsExceeded

from model.db import dsn, permission, sqlstate
from model.db.session import Database, Inherited, inherited_sql
from model.errors import (
    BrokenInstallation,
    Contended,
    DatabaseReadOnly,
    DatabaseUnavailable,
    RegistryError,
    SchemaMismatch,
    StatementTimeout,
    Verdict,
)

Params: TypeAlias = Mapping[str, Any] | Sequence[Any] | None
MakeRow: TypeAlias = Callable[[tuple[Any, ...]], Any]

db = peewee.DatabaseProxy()


def may_prepare() -> bool:
    """Return False behind a pooler that gives each transaction another session of the server."""
    return not db.obj.pooled


def configure(
    url: str, *, application_name: str = "dredge", max_connections: int = 8, pooled: bool = False
) -> None:
    """Point the proxy at `url` (postgresql://…); opens nothing until the first statement.

    A second call closes the connections of the first in this thread and points to the new `url`.
    `pooled`: a pooler gives each transaction another session of the server.  Raises `BadInput`.
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
    """Forget the parent's pool in a forked child without closing its connections.  Call `configure` again.

    If the child closed one, the server would end the parent's session.
    """
    if db.obj is not None:
        _inherited.append(db.obj)
        db.obj = None


_inherited: list[Any] = []


@contextmanager
def translated() -> Iterator[None]:
    """Translate the driver's errors into the model's.  An error of the statement alone is raised as it is."""
    try:
        yield
    except MaxConnectionsExceeded as error:
        raise DatabaseUnavailable("Every connection of the pool is in use") from error
    except (peewee.InterfaceError, peewee.DatabaseError, psycopg2.Error) as error:
        cause = error if isinstance(error, psycopg2.Error) else getattr(error, "orig", error.__cause__)
        if denied := permission.describe(cause):
            raise BrokenInstallation(denied) from error
        ours = _ours(getattr(cause, "pgcode", None), str(error).strip().partition("\n")[0])
        if ours is None:
            raise
        raise ours from error


def _ours(code: str | None, text: str) -> RegistryError | None:
    """Return the model's error for a SQLSTATE; None if the same statement would fail again."""
    verdict = sqlstate.sort(code or sqlstate.of_refusal(text))
    if code in sqlstate.CONTENTION:
        return Contended()
    if code == sqlstate.CANCELED:
        return StatementTimeout(f"The database canceled a statement: {text}")
    if code == sqlstate.READ_ONLY:
        return DatabaseReadOnly(f"The database takes no writes: {text}")
    if code in sqlstate.MISSING:
        return SchemaMismatch(f"{text}: run `dredge init`, or see `dredge check`")
    if verdict is Verdict.BROKEN:
        what = "see `dredge check`" if code else "correct DREDGE_DATABASE_URL"
        return BrokenInstallation(f"The database refuses: {text}; {what}")
    if verdict is Verdict.NOT_NOW:
        if code or "FATAL:" in text:  # Such a refusal may end by itself: the server starts, or is full.
            return DatabaseUnavailable(f"The database refuses for now: {text}")
        return DatabaseUnavailable(f"The database did not answer: {text}; start it, or correct its URL")
    return None


@contextmanager
def connection() -> Iterator[None]:
    """Hold one pooled connection for the block; nested blocks share it.

    Replaces a connection that the server has ended, unless a transaction was lost with it.  Also replaces a
    connection to a server that takes no writes: after a failover the next may reach the new primary.
    """
    try:
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
                _release()
    except DatabaseReadOnly:
        if not db.in_transaction():
            db.close_idle()
            if not db.is_closed():
                db.connection().close()
        raise


def _release() -> None:
    """Return this thread's connection to the pool, or end its session if a transaction is still open.

    A signal that raises while a transaction begins or ends leaves it to no block.  The server rolls it back.
    """
    if not db.in_transaction():
        db.close()
        return
    while db.in_transaction():
        db.pop_transaction()
    db.manual_close()


def _is_dead() -> bool:
    """Return whether the server has closed this thread's connection, which is still open on our side."""
    return not db.is_closed() and not db.in_transaction() and bool(db.connection().closed)


@contextmanager
def transaction() -> Iterator[None]:
    """Run the block in one READ COMMITTED transaction; a nested one is a savepoint of it.

    Every error rolls back.  Raises the errors of `translated`, and other errors as they are.
    """
    with connection(), db.atomic():
        yield


@contextmanager
def whole_tables() -> Iterator[None]:
    """Run the block in a transaction that may scan whole tables, without a statement timeout."""
    with transaction():
        execute("SET LOCAL enable_seqscan = on")
        execute("SET LOCAL enable_bitmapscan = on")
        lift_statement_timeout()
        yield


@contextmanager
def short_transaction() -> Iterator[None]:
    """Run a transaction that others wait for: the server ends it if this process is frozen for 3 seconds."""
    with transaction():
        execute("SET LOCAL idle_in_transaction_session_timeout = '3s'")
        yield


def lift_statement_timeout() -> None:
    """Lift the statement timeout of this transaction.  Use it only for reads and Dredge's own tables."""
    execute("SET LOCAL statement_timeout = 0")


def find_inherited() -> list[Inherited]:
    """Return the parameters that a role, a database or the server sets, and that our sessions replace."""
    sql, params = inherited_sql()
    return [Inherited(*row) for row in fetch(sql, params)]


def in_transaction() -> bool:
    """Return whether the caller is inside `transaction()`."""
    return bool(db.in_transaction())


def fetch(sql: str, params: Params = None, *, make: MakeRow | None = None) -> list[Any]:
    """Run one statement.  Returns `make` of each row's tuple; without it, named tuples of its columns."""
    if db.in_transaction():  # the transaction holds the connection
        return _fetch(sql, params, make)
    with connection():
        return _fetch(sql, params, make)


def _fetch(sql: str, params: Params, make: MakeRow | None) -> list[Any]:
    cursor = db.execute_sql(sql, params)
    if cursor.description is None:
        return []
    if make is None:
        make = _row_type(tuple([column[0] for column in cursor.description]))._make
    return list(map(make, cursor.fetchall()))


def fetch_one(sql: str, params: Params = None) -> Any:
    """Run one statement.  Returns its first row, or None."""
    found = fetch(sql, params)
    return found[0] if found else None


def execute(sql: str, params: Params = None) -> int:
    """Run one statement.  Returns the number of rows that it changed."""
    with connection():
        return int(db.execute_sql(sql, params).rowcount)


_row_types: dict[tuple[str, ...], Any] = {}


def _row_type(names: tuple[str, ...]) -> Any:
    if names not in _row_types:
        _row_types[names] = NamedTuple("Row", [(name, Any) for name in names])
    return _row_types[names]
