"""The one place that reads a clock, and it is the database's: workers' clocks decide nothing."""

from __future__ import annotations

from model.db.connection import fetch_one

NOW_MS_SQL = "(extract(epoch from clock_timestamp()) * 1000)::bigint"


def now_ms() -> int:
    """Milliseconds since the epoch on the database server, at this statement."""
    return int(fetch_one(f"SELECT {NOW_MS_SQL} AS now_ms").now_ms)
