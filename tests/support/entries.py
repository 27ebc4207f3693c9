"""How many index entries statements read, and the plans of the statements that a block sends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from model.db.connection import db, fetch_one, transaction

_READ = """
SELECT sum(pg_stat_get_xact_tuples_returned(i.indexrelid))::bigint AS n
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relname LIKE 'dredge\\_%%'
"""
_EXPLAINED = ("SELECT", "WITH", "UPDATE", "INSERT", "DELETE", "EXECUTE")


@contextmanager
def old_snapshot(url: str) -> Iterator[None]:
    """Hold a snapshot in another session: the server keeps all that it can see, also where it is deleted."""
    holder = psycopg2.connect(url)
    try:
        holder.set_session(isolation_level="REPEATABLE READ")
        with holder.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_class")
        yield
    finally:
        holder.close()


def counting(work: Callable[..., Any], counts: list[int]) -> Callable[..., Any]:
    """The same function; each call adds to `counts` the index entries of Dredge's tables that it has read."""

    def counted(*arguments: Any, **options: Any) -> Any:
        with transaction():
            before = fetch_one(_READ).n
            result = work(*arguments, **options)
            counts.append(fetch_one(_READ).n - before)
        return result

    return counted


@contextmanager
def plans() -> Iterator[list[dict[str, Any]]]:
    """Run each statement of the block twice: first explained, and rolled back.  Yields the plans' nodes."""
    target = db.obj
    real = target.execute_sql
    nodes: list[dict[str, Any]] = []

    def explain_and_execute(sql: str, params: Any = None, *rest: Any) -> Any:
        if sql.lstrip().startswith(_EXPLAINED) and "dredge_" in sql:
            real("SAVEPOINT explained")
            plan = real(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params).fetchall()[0][0]
            real("ROLLBACK TO explained")
            nodes.extend(_nodes((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"]))
        return real(sql, params, *rest)

    target.execute_sql = explain_and_execute
    try:
        with transaction():
            yield nodes
    finally:
        del target.execute_sql


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
