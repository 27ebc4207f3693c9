"""A long list of running digests: none of them is ended, collected or purged, and everything else goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from model import registry
from model.gc.collect import collect_batches
from model.in_use import StaleInUseList, replace_in_use
from model.policy import DEFAULT
from model.purge.state import PurgeBlocked
from model.retention.rule import Rule
from tests.model.purge.conftest import NOW
from tests.model.purge.purging import purge
from tests.model.retention.retaining import DAY_MS, aged, alive, fileless, retain
from tests.support.world import World, digest_of

RUNNING = 100_000
OLD = Rule("old", "expire", older_than_ms=DAY_MS)


def test_of_100000_running_digests_none_is_ended_or_collected(world: World) -> None:
    world.execute('UPDATE "user" SET removed_tag_expiration_s = 0')
    running: list[str] = []
    idle: list[str] = []
    for n in range(60):
        aged(world, f"t{n}", 9, manifest=world.manifest(digest=digest_of(f"manifest {n}")))
        ended = world.manifest(digest=digest_of(f"ended {n}"))
        aged(world, f"gone{n}", 9, manifest=ended, ended_ms=5)
        (running if n % 2 else idle).append(ended.digest)
    digests = {digest_of(f"manifest {n}") for n in range(1, 60, 2)} | set(running)
    digests |= {digest_of(f"elsewhere {n}") for n in range(RUNNING - len(digests))}
    assert replace_in_use(digests) == RUNNING
    assert retain(world.repository_id, fileless(OLD))[0] == {f"t{n}" for n in range(0, 60, 2)}
    assert alive(world) == {f"t{n}" for n in range(1, 60, 2)}
    for _ in range(3):
        collect_batches([world.repository_id], policy=DEFAULT, limit=1000)
    left = {digest for (digest,) in world.rows("SELECT digest FROM manifest")}
    assert set(running) <= left and left.isdisjoint(idle)
    assert {digest_of(f"manifest {n}") for n in range(1, 60, 2)} <= left


@pytest.mark.parametrize("count", [1_000, pytest.param(RUNNING, marks=pytest.mark.slow)])
def test_a_purge_does_not_begin_while_one_of_many_manifests_runs(world: World, count: int) -> None:
    doomed = world.repository("doomed")
    running = world.manifest(doomed)
    world.tag(manifest=running, repository=doomed)
    world.tag("bystander")
    replace_in_use({running.digest} | {digest_of(f"elsewhere {n}") for n in range(count - 1)})
    registry.delete_repository("acme/doomed", policy=NOW)
    with world.changes() as changes, pytest.raises(PurgeBlocked, match="containers run 1 manifest of it"):
        purge(doomed)
    assert not changes


def test_a_stale_list_ends_nothing_whatever_it_has(world: World) -> None:
    aged(world, "old", 9)
    policy = replace(fileless(OLD), in_use_max_age_ms=1000)
    replace_in_use([digest_of("other")])
    world.execute("UPDATE dredge_cursor SET moved_ms = moved_ms - 2000 WHERE name = 'in_use'")
    with world.changes() as changes, pytest.raises(StaleInUseList):
        retain(world.repository_id, policy)
    assert not changes
    replace_in_use([digest_of("other")])
    assert retain(world.repository_id, policy)[0] == {"old"}
