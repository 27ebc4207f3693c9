"""Save all rows of a database once, and restore them in a few milliseconds."""

from __future__ import annotations

import psycopg2

from tests.support.world import World


class SavedRows:
    """Copies of all tables in the schema `saved`, and a connection that restores them.

    The connection does not check foreign keys, and keeps its plans from one restore to the next.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._connection = psycopg2.connect(world.url)
        self._connection.autocommit = True
        self._run("SET session_replication_role = replica; CREATE SCHEMA IF NOT EXISTS saved")

    def save(self) -> None:
        """Save all rows and sequences."""
        found = self._world.snapshot()
        del found["dredge_migration"]
        filled = [table for table, rows in found.items() if rows]
        for table in filled:
            self._run(f'DROP TABLE IF EXISTS saved."{table}"')
            self._run(f'CREATE TABLE saved."{table}" AS TABLE "{table}"')
        sequences = self._world.rows(
            "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public'"
        )
        rows = "".join(f'DELETE FROM "{table}";' for table in found)
        rows += "".join(f'INSERT INTO "{table}" SELECT * FROM saved."{table}";' for table in filled)
        numbers = "".join(
            f"PERFORM setval('\"{name}\"', {last or 1}, {'true' if last else 'false'});"
            for name, last in sequences
        )
        body = f"BEGIN {rows} {numbers} END"
        self._run(f"CREATE OR REPLACE FUNCTION saved.put_back() RETURNS void LANGUAGE plpgsql AS $${body}$$")

    def put_back(self) -> None:
        """Restore the saved rows and sequences."""
        self._run("SELECT saved.put_back()")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _run(self, sql: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
