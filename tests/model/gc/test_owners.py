"""The owner is the one at the commit, and nobody else's transaction stops a batch for long."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import Contended
from model.gc import collect as module
from model.gc.collect import collect_batch
from model.policy import DEFAULT
from tests.support.world import World

LONG_MS = 20 * 24 * 3_600_000


@pytest.mark.parametrize(
    "change",
    ["UPDATE repository SET name = 'renamed'", "UPDATE repository SET namespace_user_id = %(longer)s"],
    ids=["renamed", "moved"],
)
def test_case_70_a_repository_that_changes_its_owner_or_name_rolls_the_batch_back(
    world: World, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    world.tag("old", ended_ms=world.now_ms - LONG_MS)
    longer = world.namespace("longer", window_s=28 * 86400)
    real = module._close

    def meanwhile(*arguments: Any) -> None:
        world.execute(change, {"longer": int(longer)})
        real(*arguments)

    monkeypatch.setattr(module, "_close", meanwhile)
    with world.only_removes(may_change=["repository"]), pytest.raises(Contended):
        collect_batch(world.repository_id, policy=DEFAULT, limit=100)


@pytest.mark.parametrize(
    "held",
    [
        'UPDATE "user" SET removed_tag_expiration_s = 28 * 86400',
        "UPDATE repository SET name = 'renamed'",
        "UPDATE quotarepositorysize SET size_bytes = size_bytes",
    ],
    ids=["window", "name", "quota"],
)
def test_case_66_a_change_that_is_not_committed_yet_makes_a_batch_give_up_and_come_again(
    world: World, held: str
) -> None:
    """The batch must neither overlook the change nor hold its manifests for as long as that takes."""
    gone = world.tag("old", manifest=world.manifest(blobs=[world.blob()]), ended_ms=world.now_ms - LONG_MS)
    world.quota()
    world.execute("BEGIN")
    world.execute(held)
    try:
        with pytest.raises(Contended):
            collect_batch(world.repository_id, policy=DEFAULT, limit=100)
    finally:
        world.execute("ROLLBACK")
    assert world.rows("SELECT id FROM tag WHERE id = %s", (int(gone),))
    assert collect_batch(world.repository_id, policy=DEFAULT, limit=100).tags == 1
