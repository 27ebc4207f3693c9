"""Quota rows that nobody has counted yet are left alone, as a Quay leaves them."""

from __future__ import annotations

import pytest

from model.gc import quota
from model.gc.collect import collect_batch
from model.manifest.links import add_to_quota
from model.policy import DEFAULT
from tests.support.world import World

TABLES = ("quotarepositorysize", "quotanamespacesize")


def sizes(world: World) -> list[int]:
    return [world.value(f"SELECT size_bytes FROM {table}") for table in TABLES]


@pytest.mark.parametrize("uncounted", [*TABLES, None])
def test_a_row_whose_backfill_is_not_complete_is_left_alone(world: World, uncounted: str | None) -> None:
    world.tag("kept", manifest=world.manifest(blobs=[world.blob(100)]))
    world.tag("old", manifest=world.manifest(blobs=[world.blob(7)]), ended_ms=1)
    world.quota()
    if uncounted:
        world.execute(f"UPDATE {uncounted} SET backfill_complete = false, size_bytes = 5")
    collect_batch(world.repository_id, policy=DEFAULT, limit=10)
    assert sizes(world) == [5 if table == uncounted else 100 for table in TABLES]
    add_to_quota(world.repository_id, [int(world.blob(30))])
    assert sizes(world) == [5 if table == uncounted else 130 for table in TABLES]


@pytest.mark.parametrize("small", [0, 1000], ids=["large namespace", "small namespace"])
@pytest.mark.parametrize("others", [0, 3, 12])
@pytest.mark.parametrize("ours", [0, 1])
def test_a_namespace_pays_for_a_blob_until_its_last_repository_drops_it(
    world: World, monkeypatch: pytest.MonkeyPatch, small: int, others: int, ours: int
) -> None:
    monkeypatch.setattr(quota, "SMALL_NAMESPACE", small)
    layer, beside = world.blob(7), world.blob(100)
    for _ in range(others):
        stranger = world.repository(namespace=world.namespace())
        world.tag("kept", manifest=world.manifest(blobs=[layer], repository=stranger), repository=stranger)
    for _ in range(ours):
        sibling = world.repository()
        world.tag("kept", manifest=world.manifest(blobs=[layer], repository=sibling), repository=sibling)
    world.tag("kept", manifest=world.manifest(blobs=[beside]))
    world.tag("old", manifest=world.manifest(blobs=[layer]), ended_ms=1)
    world.quota()
    assert sizes(world) == [107, 107]
    collect_batch(world.repository_id, policy=DEFAULT, limit=10)
    assert sizes(world) == [100, 107 if ours else 100]
