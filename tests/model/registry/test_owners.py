"""Namespaces and repositories are made once, whoever comes first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from model import namespace, repository
from model.db import connection as database
from model.repository import by_ids, by_name
from tests.support.world import World


def test_a_namespace_and_a_repository_are_made_once(world: World) -> None:
    world.repository("bystander")

    def make(_: int) -> tuple[int, int]:
        with database.connection():
            owner = namespace.ensure("fresh", window_s=60)
            return owner.id, repository.ensure(owner.id, "some/app", visibility="public").id

    with world.changes() as changes, ThreadPoolExecutor(6) as pool:
        made = set(pool.map(make, range(18)))
    assert len(made) == 1
    assert {table: len(rows) for table, rows in changes.added.items()} == {"user": 1, "repository": 1}
    assert not changes.changed and not changes.removed
    found = by_name("fresh", "some/app", kind="image")
    assert found is not None and found.visibility == "public" and found.window_ms == 60_000
    assert (
        by_ids([found.id]) == {found.id: found} and by_name("fresh", "some/app", kind="application") is None
    )


def test_making_sure_again_changes_nothing(world: World) -> None:
    owner = namespace.ensure("fresh")
    repository.ensure(owner.id, "app")
    with world.changes() as changes:
        assert namespace.ensure("fresh", window_s=1) == owner
        repository.ensure(owner.id, "app", visibility="public")
    assert not changes and owner.window_ms == 14 * 24 * 3_600_000
