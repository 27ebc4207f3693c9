"""A full Quay database, and purges that run to their end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from model.db import lookup_rows, schema
from model.policy import DEFAULT, Policy
from tests.support.quay import create_quay_tables
from tests.support.world import World

NOW = replace(DEFAULT, purge_grace_ms=0)


@pytest.fixture
def quay(empty_database: str) -> Iterator[World]:
    """A world on every table of a current Quay, as `dredge init` leaves it."""
    create_quay_tables(empty_database)
    schema.create()
    lookup_rows.insert_missing()
    made = World(empty_database)
    yield made
    made.close()


@pytest.fixture
def now() -> Policy:
    """The default policy without a grace."""
    return NOW
