"""A database that tests share is as new for each of them."""

from __future__ import annotations

import psycopg2
import pytest

from tests.support.databases import Databases
from tests.support.world import World

# What a test may read of a database: its rows, the next ID, and what the planner knows of each table.
_NEXT = "SELECT sequencename, coalesce(last_value, 0) FROM pg_sequences ORDER BY 1"
_PLANNED = "SELECT relname, relpages, reltuples, relallvisible FROM pg_class WHERE oid >= 16384 ORDER BY oid"
_COUNTED = "SELECT sum(n_tup_ins), sum(n_dead_tup) FROM pg_stat_user_tables"


@pytest.fixture(autouse=True)
def _of_their_own(databases: Databases) -> None:
    """Begin with a fresh database: one that other tests had may be at its last test."""
    databases.drop_spare()


def _look(world: World) -> list[object]:
    return [world.snapshot(), *(world.rows(statement) for statement in (_NEXT, _PLANNED, _COUNTED))]


def _use(world: World) -> None:
    world.tag("gone", manifest=world.manifest(blobs=[world.blob()], labels=1), ended_ms=1)
    world.lookup("mediatype", "application/vnd.example.of-a-test")
    world.execute("DELETE FROM tag")


def test_the_next_test_finds_what_the_first_found(databases: Databases) -> None:
    found = []
    for _ in range(3):
        with databases.clone() as url:
            world = World(url, databases.session(url))
            found.append((url, _look(world)))
            _use(world)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE tag ADD COLUMN more int",
        "ALTER TABLE tag ALTER COLUMN hidden DROP NOT NULL",
        "DROP INDEX tag_manifest_id",
        "CREATE SCHEMA another",
        "GRANT SELECT ON tag TO public",
        "GRANT SELECT (name) ON tag TO public",
        "ALTER TABLE tag DISABLE TRIGGER ALL",
        "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER SEQUENCE tag_id_seq INCREMENT 2",
        "INSERT INTO tagkind (name) VALUES ('other'); ANALYZE tagkind",
        "UPDATE tagkind SET name = 'other'",
        "DELETE FROM mediatype",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$",
        "CREATE TABLE tag2 AS SELECT FROM generate_series(1, 200000)",
        "INSERT INTO tagkind (name) SELECT 'kind ' || n FROM generate_series(1, 100000) n",
    ],
)
def test_a_database_that_a_test_changed_is_given_up(databases: Databases, statement: str) -> None:
    with databases.clone() as changed:
        databases.session(changed).cursor().execute(statement)
    with databases.clone() as url:
        assert url != changed
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        psycopg2.connect(changed)


def test_sessions_that_a_test_left_end_and_its_rows_go(databases: Databases) -> None:
    with databases.clone() as url:
        left = psycopg2.connect(url)
        left.cursor().execute("INSERT INTO tagkind (name) VALUES ('left')")
        session = databases.session(url)
        session.cursor().execute("SET work_mem = '1MB'; SELECT pg_advisory_lock(1)")
        World(url, session).execute("INSERT INTO tagkind (name) VALUES ('other'), ('more')")
    with databases.clone() as again:
        world = World(again, databases.session(again))
        assert again == url
        assert world.rows("SELECT name FROM tagkind") == [("tag",)] and world.value("SHOW work_mem") == "4MB"
        assert world.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    with pytest.raises(psycopg2.OperationalError):
        left.cursor().execute("SELECT")


def test_a_test_may_end_every_session_also_that_of_its_factories(databases: Databases) -> None:
    with databases.clone() as url:
        World(url, databases.session(url)).tag("gone")
        with psycopg2.connect(url) as other:
            other.cursor().execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )
    with databases.clone() as again:
        assert again == url
        assert World(again, databases.session(again)).value("SELECT count(*) FROM tag") == 0
