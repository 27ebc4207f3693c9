"""Load millions of rows in bounded time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from model.db.bulk_load import COLUMNS
from model.db.connection import execute, fetch

_SECONDARY = """
SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
WHERE t.relname = ANY(%s) AND NOT i.indisprimary
  AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)
"""


@contextmanager
def without_indexes() -> Iterator[None]:
    """Drop the secondary indexes of the loaded tables for the block, and build them again at its end.

    Only for databases that a benchmark created.
    """
    indexes = fetch(_SECONDARY, (list(COLUMNS),))
    for index in indexes:
        execute(f"DROP INDEX {index.name}")
    yield
    execute("SET maintenance_work_mem = '512MB'")
    for index in indexes:
        execute(index.definition)
    execute("RESET maintenance_work_mem")
