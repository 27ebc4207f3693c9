"""Prepared statements: the server plans them once for each connection, instead of at every call.

The collector runs a few large statements for every repository, and planning one of them takes longer than
running it.  https://www.postgresql.org/docs/current/sql-prepare.html
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from model.db import connection as database
from model.db import permission
from model.db.arrays import BigIntArray, IntArray
from model.db.connection import MakeRow, connection, db, fetch
from model.db.text_array import TextArray

_prepared: weakref.WeakKeyDictionary[Any, set[str]] = weakref.WeakKeyDictionary()

_TYPES: dict[type, str] = {
    bool: "boolean",
    int: "bigint",
    str: "text",
    BigIntArray: "bigint[]",
    IntArray: "int[]",
    TextArray: "text[]",
    list: "text[]",
}


def run(sql: str, params: Mapping[str, Any], *, make: MakeRow | None = None) -> list[Any]:
    """Run a statement with `%(name)s` parameters.  Returns all rows, as `fetch` does.

    Parameters are booleans, integers, texts, lists of texts or id arrays, and never None.  The first call
    on a connection prepares the statement.  Behind a pooler the next call may have another session, so
    there the statement is not prepared.
    """
    if not database.may_prepare():
        return fetch(sql, params, make=make)
    if db.in_transaction():  # the transaction holds the connection
        return _run(sql, params, make)
    # Held from PREPARE to EXECUTE, so that a connection that has ended is replaced before PREPARE.
    with connection():
        return _run(sql, params, make)


def _run(sql: str, params: Mapping[str, Any], make: MakeRow | None) -> list[Any]:
    types = tuple([(name, _TYPES.get(type(value)) or _type_of(value)) for name, value in params.items()])
    name, prepare, execute = _texts(sql, types)
    known = _prepared.setdefault(db.connection(), set())
    if name not in known:
        permission.remember(name, sql)
        with database.translated():
            db.execute_sql(prepare)
        known.add(name)
    return fetch(execute, params, make=make)


def _type_of(value: object) -> str:
    """Return the SQL type of a value; a subclass has that of its nearest base class with one."""
    return next(_TYPES[kind] for kind in type(value).__mro__ if kind in _TYPES)


def run_one(sql: str, params: Mapping[str, Any]) -> Any:
    """Run a statement as `run` does.  Returns its first row, or None."""
    found = run(sql, params)
    return found[0] if found else None


@lru_cache(maxsize=256)
def _texts(sql: str, types: tuple[tuple[str, str], ...]) -> tuple[str, str, str]:
    """Return the statement's name on the server, the PREPARE and the EXECUTE."""
    used = [(name, kind) for name, kind in types if f"%({name})s" in sql]
    places = {name: f"${number}" for number, (name, _) in enumerate(used, 1)}
    name = "dredge_" + hashlib.sha256(f"{sql}{used}".encode()).hexdigest()[:24]
    kinds = ", ".join(kind for _, kind in used)
    values = ", ".join(f"%({name})s" for name, _ in used)
    return name, f"PREPARE {name} ({kinds}) AS {sql % places}", f"EXECUTE {name} ({values})"
