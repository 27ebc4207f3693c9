"""One consistent look at all tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from model.db.connection import connection, db, execute, whole_tables


@contextmanager
def snapshot() -> Iterator[None]:
    """A read-only REPEATABLE READ transaction: every statement in it sees the same instant.

    Not nested: it must be the outermost transaction.  It blocks nobody and waits for nobody.
    """
    with connection(), db.atomic(isolation_level="REPEATABLE READ"):
        execute("SET TRANSACTION READ ONLY")
        with whole_tables():
            yield
