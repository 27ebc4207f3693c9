"""What the tests of tasks and events share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from worker.client import Client
from worker.local.embedded import EmbeddedServers


@pytest.fixture
def environment(servers: EmbeddedServers, database: str, valkey: str, tmp_path: Path) -> dict[str, str]:
    """The `DREDGE_*` variables of a worker on this test's database and a flushed Valkey."""
    (tmp_path / "storage").mkdir(exist_ok=True)
    return {
        "DREDGE_DATABASE_URL": database,
        "DREDGE_BROKER_URL": valkey,
        "DREDGE_CACHE_URL": servers.cache_url,
        "DREDGE_STORAGE": f"local_us={tmp_path / 'storage'}",
        "DREDGE_SCAN_INTERVAL_S": "600",
        "DREDGE_QUARANTINE_S": "0",
    }


@pytest.fixture
def client(valkey: str) -> Iterator[Client]:
    """A client of the workers."""
    with Client(valkey) as made:
        yield made


@pytest.fixture
def broker(valkey: str) -> Iterator[Any]:
    """The broker's Redis."""
    made = redis.Redis.from_url(valkey, decode_responses=True)
    yield made
    made.close()
