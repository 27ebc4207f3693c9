"""The one place that reads a clock, and it is the database's: workers' clocks decide nothing."""

from __future__ import annotations

from model.database import db

NOW_MS_SQL = "(extract(epoch from clock_timestamp()) * 1000)::bigint"


def now_ms() -> int:
    """Milliseconds since the epoch on the database server, at this statement."""
    return int(db.execute_sql(f"SELECT {NOW_MS_SQL}").fetchone()[0])
