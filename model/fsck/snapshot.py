"""One consistent snapshot of all tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from model.db.connection import connection, db, execute, whole_tables


@contextmanager
def snapshot() -> Iterator[None]:
    """Run the block in a read-only REPEATABLE READ transaction: all its statements see the same snapshot.

    It must be the outermost transaction.  It neither blocks nor waits for other transactions.
    """
    with connection(), db.atomic(isolation_level="REPEATABLE READ"):
        execute("SET TRANSACTION READ ONLY")
        with whole_tables():
            yield
