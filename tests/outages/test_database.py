"""PostgreSQL restarts, freezes, and has no connection left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg2
import pytest

from model import registry
from model.db import connection as database
from model.errors import DatabaseUnavailable
from tests.outages.conftest import Ground

pytestmark = pytest.mark.slow


def test_a_database_that_restarts_and_freezes(ground: Ground) -> None:
    postgres = ground.servers.postgres
    assert postgres is not None
    images = [ground.push(tag, 1, n) for n, tag in enumerate(("kept", "before", "between", "frozen"))]
    with ground.system() as running:
        ground.delete("before")
        postgres.restart()
        ground.delete("between")
        ground.gone(images[2], running)
        ground.delete("frozen")
        postgres.freeze()
        time.sleep(3)
        postgres.thaw()
        ground.gone(images[3], running)
        ground.settle(running)
        ground.pull("kept")
        assert running.stop() == 0


@contextmanager
def taken(url: str) -> Iterator[None]:
    """Every connection of the server in somebody else's hands."""
    held = []
    try:
        with suppress(psycopg2.OperationalError):
            while True:
                held.append(psycopg2.connect(url))
        yield
    finally:
        for each in held:
            each.close()


def test_no_connection_is_left(ground: Ground) -> None:
    doomed = ground.push("doomed")
    ground.push("kept")
    ground.delete("doomed")
    database.db.close_all()
    with taken(ground.servers.database_url):
        with pytest.raises(DatabaseUnavailable):
            registry.delete_tag(ground.repository_id, "kept")
        with ground.system() as running:
            running.wait_for("too many clients", 20)
            taken_still = running.process.poll()
            assert taken_still is None
            with suppress(DatabaseUnavailable):
                registry.get_tag(ground.repository_id, "kept")
    with ground.system() as running:
        ground.gone(doomed, running)
        ground.settle(running)
        ground.pull("kept")
