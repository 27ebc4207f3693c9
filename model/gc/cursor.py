"""The position at which a walk through a large table continues."""

from __future__ import annotations

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch_one


def read_cursor(name: str) -> int:
    """Return the stored position, or 0."""
    row = fetch_one("SELECT position FROM dredge_cursor WHERE name = %s", (name,))
    return 0 if row is None else int(row.position)


_MOVE = f"""
INSERT INTO dredge_cursor (name, position, moved_ms) VALUES (%s, %s, {NOW_MS_SQL})
    ON CONFLICT (name) DO UPDATE SET position = excluded.position, moved_ms = excluded.moved_ms
"""


def move_cursor(name: str, position: int) -> None:
    """Store the position.  Of two walks at once the later write wins, so rows may be read twice."""
    execute(_MOVE, (name, position))
