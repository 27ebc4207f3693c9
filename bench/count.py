"""Count statements and time transactions in `model.db.connection`, which runs all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.db.connection import db, fetch, fetch_one

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
    """The number of statements, the longest transaction, and the time of the whole block."""

    statements: int = 0
    longest_s: float = 0.0
    seconds: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def counted() -> Iterator[Count]:
    """Count the statements of this block that go through `model.db.connection`, and time its transactions."""
    count = Count()
    execute_sql, begin, commit = db.obj.execute_sql, db.obj.begin, db.obj.commit
    began = 0.0
    backend = backend_of_this_process()

    def counting(*args: Any, **kwargs: Any) -> Any:
        count.statements += 1
        started = time.perf_counter()
        try:
            return execute_sql(*args, **kwargs)
        finally:  # Outside a transaction, a statement is a transaction of its own.
            if not db.obj.in_transaction():
                count.longest_s = max(count.longest_s, time.perf_counter() - started)

    def beginning(*args: Any, **kwargs: Any) -> None:
        nonlocal began
        began = time.perf_counter()
        begin(*args, **kwargs)

    def committing() -> None:
        commit()
        count.longest_s = max(count.longest_s, time.perf_counter() - began)

    db.obj.execute_sql, db.obj.begin, db.obj.commit = counting, beginning, committing
    started, cpu_before = time.perf_counter(), cpu_s(backend)
    try:
        yield count
    finally:
        count.seconds = time.perf_counter() - started
        count.cpu_s = cpu_s(backend) - cpu_before
        del db.obj.execute_sql, db.obj.begin, db.obj.commit


def backend_of_this_process() -> Path:
    """Return where Linux shows the processor time of the server process of this connection."""
    return Path(f"/proc/{fetch_one('SELECT pg_backend_pid() AS pid').pid}/schedstat")


def cpu_s(backend: Path) -> float:
    """Return the processor seconds of this process and its server process, or 0 if they are unknown.

    Unlike elapsed time, they hardly depend on other load of the machine.
    """
    if not backend.exists():
        return 0.0
    nanoseconds, *_ = backend.read_text().split()
    return time.process_time() + int(nanoseconds) / 1e9


def row_counts() -> dict[str, int]:
    """Return how many rows each collected table holds."""
    selects = " UNION ALL ".join(f"SELECT '{name}' AS name, count(*) AS rows FROM {name}" for name in TABLES)
    return {row.name: row.rows for row in fetch(selects)}
