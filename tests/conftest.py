"""What every test may ask for: real servers once per session, an empty registry each, and a world."""

from __future__ import annotations

import functools
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.utils

from tests.support.databases import Databases, memory
from tests.support.world import World
from worker.local.embedded import EmbeddedServers
from worker.storage.base import Stores
from worker.storage.open import open_stores

for _name in [name for name in os.environ if name.startswith("DREDGE_")]:
    del os.environ[_name]

# A shell's background job ignores SIGINT, and one under `nohup` SIGHUP; and so would every process that the
# tests start and stop.
for _number, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _default)

# Each client of Redis reads the version from the package's metadata, and the tests make thousands.
redis.utils.get_lib_version = functools.cache(redis.utils.get_lib_version)


def pytest_collection_finish() -> None:
    """Spare Python's collector the objects of the imports: it took a twelfth of the tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


@pytest.fixture(scope="session")
def servers() -> Iterator[EmbeddedServers]:
    """The session's PostgreSQL and Valkey."""
    with EmbeddedServers(temporary_in=memory()) as running:
        yield running


@pytest.fixture(scope="session")
def databases(servers: EmbeddedServers) -> Iterator[Databases]:
    """Makes databases; `with databases.clone() as url:` for more than one in a test."""
    made = Databases(servers.database_url)
    yield made
    made.close()


@pytest.fixture
def database(databases: Databases) -> Iterator[str]:
    """URL of a database with all tables and lookup rows; `model.db.connection` points at it."""
    with databases.clone() as url:
        yield url


@pytest.fixture
def empty_database(databases: Databases) -> Iterator[str]:
    """URL of a database without tables; `model.db.connection` points at it."""
    url = databases.empty()
    with databases.configured(url):
        yield url
    databases.drop(url)


@pytest.fixture
def world(database: str, databases: Databases) -> Iterator[World]:
    """Factories and snapshots on the database."""
    made = World(database, databases.session(database))
    yield made
    made.close()


@pytest.fixture
def valkey(servers: EmbeddedServers) -> Iterator[str]:
    """URL of the session's Valkey (database 0), flushed; thawed and restarted if needed."""
    server = servers.valkey
    assert server is not None
    server.thaw()
    server.start()
    client = redis.Redis.from_url(servers.broker_url)
    client.flushall()
    yield servers.broker_url
    server.thaw()
    server.start()
    client.flushall()
    client.close()


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    """One empty local store, in `tmp_path / "objects"`."""
    (tmp_path / "objects").mkdir()
    return open_stores({"local_us": f"file://{tmp_path}/objects?fsync=off"})
