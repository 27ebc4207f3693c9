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
from tests.outages.conftest import OutageServers

pytestmark = pytest.mark.slow


def test_a_database_that_restarts_and_freezes(outage_servers: OutageServers) -> None:
    postgres = outage_servers.servers.postgres
    assert postgres is not None
    images = [outage_servers.push(tag, 1, n) for n, tag in enumerate(("kept", "before", "between", "frozen"))]
    with outage_servers.system() as running:
        outage_servers.delete("before")
        postgres.restart()
        outage_servers.delete("between")
        outage_servers.gone(images[2], running)
        outage_servers.delete("frozen")
        postgres.freeze()
        time.sleep(3)
        postgres.thaw()
        outage_servers.gone(images[3], running)
        outage_servers.settle(running)
        outage_servers.pull("kept")
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


def test_no_connection_is_left(outage_servers: OutageServers) -> None:
    doomed = outage_servers.push("doomed")
    outage_servers.push("kept")
    outage_servers.delete("doomed")
    database.db.close_all()
    with taken(outage_servers.servers.database_url):
        with pytest.raises(DatabaseUnavailable):
            registry.delete_tag(outage_servers.repository_id, "kept")
        with outage_servers.system() as running:
            running.wait_for("too many clients")
            taken_still = running.process.poll()
            assert taken_still is None
            with suppress(DatabaseUnavailable):
                registry.get_tag(outage_servers.repository_id, "kept")
    with outage_servers.system() as running:
        outage_servers.gone(doomed, running)
        outage_servers.settle(running)
        outage_servers.pull("kept")
