"""The only module that reads a clock, and it is the database's: no decision uses the clock of a worker."""

from __future__ import annotations

from model.db.connection import fetch_one

NOW_MS_SQL = "(extract(epoch from clock_timestamp()) * 1000)::bigint"


def now_ms() -> int:
    """Return the time on the database server at this statement, in milliseconds since the epoch."""
    return int(fetch_one(f"SELECT {NOW_MS_SQL} AS now_ms").now_ms)
