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


@pytest.mark.parametrize("step", ["push_transaction", "pop_transaction", "begin"])
def test_a_signal_at_a_transactions_edge_rolls_it_back_and_hides_no_error(
    step: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Ctrl-C or SIGTERM raises between the driver and the block that would end the transaction."""
    world.tag("bystander")
    change = getattr(db.obj, step)

    def interrupt(*given: object) -> None:
        change(*given)
        monkeypatch.setattr(db.obj, step, change)
        raise KeyboardInterrupt

    with world.changes() as changes:
        monkeypatch.setattr(db.obj, step, interrupt)
        with pytest.raises(KeyboardInterrupt), transaction():
            execute("UPDATE tag SET name = 'half'")
        with transaction():
            assert db.transaction_depth() == 1
            assert fetch_one("SELECT name FROM tag").name == "bystander"
    assert not changes
    assert db.is_closed()
