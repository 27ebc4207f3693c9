"""The backends that the contract is tried on, and a Valkey of our own to freeze and to kill."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis._parsers.commands import CommandsParser

from model.cache import CacheConfig, DataModelCache
from model.cache.open import open_cache
from tests.model.cache.kinds import Notes
from worker.local.embedded import EmbeddedServers, Valkey

OpenCache = Callable[..., DataModelCache]


class Cluster(Valkey):
    """A cluster of one node that owns every slot: cross-slot commands are refused as in a large one."""

    def command(self) -> list[str]:
        return [*super().command(), "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"]

    def start(self) -> None:
        super().start()
        client: Any = redis.Redis(port=self.port)  # its execute_command is untyped
        if client.info("cluster")["cluster_enabled"] and not client.execute_command("CLUSTER SLOTS"):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True):
                time.sleep(0.02)
        client.close()


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A short directory for servers' sockets and files."""
    directory = Path(tempfile.mkdtemp(prefix="dredge-cache-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(place: Path) -> Iterator[Cluster]:
    """A running cluster; its list of commands, most of what a client does at its start, is read once."""
    server = Cluster(place / "cluster")
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CommandsParser, "initialize", _read_once(CommandsParser.initialize))
        yield server
    server.stop()


def _read_once(initialize: Callable[..., None]) -> Callable[..., None]:
    known: dict[str, Any] = {}

    def initialize_once(parser: Any, client: Any) -> None:
        if not known:
            initialize(parser, client)
            known.update(parser.commands)
        parser.commands = known

    return initialize_once


@pytest.fixture
def own(place: Path) -> Iterator[Valkey]:
    """A Valkey of this test's own: freeze it, stop it, fill it."""
    server = Valkey(Path(tempfile.mkdtemp(dir=place)) / "own")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def notes() -> Notes:
    """A recorder that remembers."""
    return Notes()


@pytest.fixture(params=["memory", "redis", "prefixed", "cluster"])
def backend_url(request: pytest.FixtureRequest, servers: EmbeddedServers) -> Iterator[tuple[str, str]]:
    """URL and key prefix of each backend, empty at the start."""
    if request.param == "memory":
        yield "memory://", ""
        return
    if request.param == "cluster":
        port = request.getfixturevalue("cluster").port
        redis.Redis(port=port).flushall()
        yield f"redis+cluster://127.0.0.1:{port}", ""
        return
    yield request.getfixturevalue("valkey"), "dredge:" if request.param == "prefixed" else ""


@pytest.fixture
def opened(backend_url: tuple[str, str], notes: Notes) -> Iterator[OpenCache]:
    """Opens a cache on the backend; closes it."""
    made: list[DataModelCache] = []

    def open_with(config: CacheConfig | None = None, **more: object) -> DataModelCache:
        url, prefix = backend_url
        cache = open_cache(url, prefix=prefix, recorder=notes, config=config, **more)  # type: ignore[arg-type]
        made.append(cache)
        return cache

    yield open_with
    for cache in made:
        cache.close()
