"""The broker as its server sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis


@pytest.fixture
def broker_redis(valkey: str) -> Iterator[Any]:
    """A plain client of the broker's Redis."""
    made = redis.Redis.from_url(valkey, decode_responses=True)
    yield made
    made.close()
