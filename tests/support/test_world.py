"""The tests' own tools report changes correctly."""

from __future__ import annotations

import pytest

from model.db.connection import execute, fetch_one
from tests.support.databases import Databases
from tests.support.world import World


def test_a_world_holds_what_was_asked_for(world: World) -> None:
    layer = world.blob(size=7)
    child = world.manifest(blobs=[layer], labels=2)
    index = world.manifest(children=[child])
    world.tag("latest", manifest=index)
    world.security(child)
    world.uploaded(layer)
    quota = world.quota()
    assert quota.bytes == quota.namespace_bytes == 7
    row = fetch_one(
        "SELECT count(*) AS n FROM tag t JOIN manifest m ON m.id = t.manifest_id WHERE m.id = %s", (index,)
    )
    assert row.n == 1


def test_a_diff_names_what_went_and_what_followed(world: World) -> None:
    gone = world.tag("old", ended_ms=40_000)
    world.tag("fresh", ended_ms=40_001)
    with world.only_removes(tag=gone, manifest=gone.manifest):
        execute("DELETE FROM tag WHERE id = %s", (gone,))
        execute("DELETE FROM manifest WHERE id = %s", (gone.manifest,))
    with pytest.raises(AssertionError), world.unchanged():
        execute("DELETE FROM tag")
    with world.changes() as changes:
        execute("UPDATE repository SET state = 3")
    assert changes.changed["repository"][world.repository_id] == {"state": (0, 3)}


def test_each_test_has_a_database_of_its_own(databases: Databases) -> None:
    for _ in range(2):
        with databases.clone() as url:
            world = World(url)
            assert world.value("SELECT count(*) FROM tag") == 0
            world.tag("only")
            world.close()


def test_the_broker_is_empty(valkey: str) -> None:
    assert valkey.startswith("redis://127.0.0.1:")
