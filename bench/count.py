"""Counting statements, at the one place that they all pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from model.database import db, fetch

TABLES = (
    "tag",
    "tagnotificationsuccess",
    "tagpullstatistics",
    "manifest",
    "manifestchild",
    "manifestblob",
    "manifestlabel",
    "label",
    "manifestsecuritystatus",
    "manifestpullstatistics",
    "uploadedblob",
    "blobupload",
    "imagestorage",
    "imagestorageplacement",
)


@dataclass
class Count:
    """Statements sent, the longest of them and of the transactions, in seconds."""

    statements: int = 0
    longest_s: float = 0.0


@contextmanager
def counted() -> Iterator[Count]:
    """Count the statements of this block that go through `model.database`."""
    count = Count()
    inner = db.obj.execute_sql

    def execute_sql(*args: Any, **kwargs: Any) -> Any:
        count.statements += 1
        started = time.perf_counter()
        try:
            return inner(*args, **kwargs)
        finally:
            count.longest_s = max(count.longest_s, time.perf_counter() - started)

    db.obj.execute_sql = execute_sql
    try:
        yield count
    finally:
        del db.obj.execute_sql


def row_counts() -> dict[str, int]:
    """How many rows each collected table holds."""
    selects = " UNION ALL ".join(f"SELECT '{name}' AS name, count(*) AS rows FROM {name}" for name in TABLES)
    return {row.name: row.rows for row in fetch(selects)}
