"""A connection that the server ended costs one error, and then there is another."""

from __future__ import annotations

import pytest

from model.db.clock import now_ms
from model.db.connection import connection, db, execute, fetch_one, transaction
from model.errors import DatabaseUnavailable
from tests.support.world import World


def end_connection(world: World) -> None:
    """As a restart of the server does."""
    pid = fetch_one("SELECT pg_backend_pid() AS pid").pid
    world.execute("SELECT pg_terminate_backend(%s)", (pid,))


def test_no_statement_leaves_a_connection_behind(world: World) -> None:
    assert now_ms() > 0
    execute("SELECT 1")
    assert db.is_closed()


def test_in_a_block_that_holds_one_the_next_statement_gets_another(world: World) -> None:
    with connection():
        end_connection(world)
        with pytest.raises(DatabaseUnavailable):
            now_ms()
        assert now_ms() > 0
    with connection():
        assert now_ms() > 0


def test_a_transaction_that_lost_its_connection_is_lost_whole(world: World) -> None:
    with pytest.raises(DatabaseUnavailable), transaction():
        execute("UPDATE \"user\" SET email = 'lost'")
        end_connection(world)
        with pytest.raises(DatabaseUnavailable):
            now_ms()
        execute("UPDATE \"user\" SET email = 'half'")
    assert fetch_one("SELECT count(*) AS n FROM \"user\" WHERE email IN ('lost', 'half')").n == 0
