"""Purges and retention are killed at every statement and every commit; the next run finishes the work."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model import registry
from model.policy import DEFAULT
from model.retention.policies import RetentionPolicy
from model.retention.rule import Rule
from tests.crashes.test_crash_points import EVERY, QUICK, SEED
from tests.model.purge.purging import exact_quota
from tests.support.crash_points import (
    MortalStore,
    kill_at_points,
    let_fences_end,
    run_and_kill,
    wait_for_the_server,
)
from tests.support.depths import depths
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import LOCATION, make_context, run_to_quiescence
from tests.support.race_actors import RaceActors
from tests.support.race_harness import RaceHarness
from tests.support.world import World
from worker.jobs.context import JobContext
from worker.jobs.retain import retain_repository
from worker.jobs.to_the_end import purge_to_the_end
from worker.settings import Settings

DAY_MS = 86_400_000
NOW = replace(DEFAULT, purge_grace_ms=0)
RULES = RetentionPolicy(rules=(Rule("old", "expire", older_than_ms=DAY_MS),), warn_ms=DAY_MS)
SETTINGS = Settings(batch_manifests=3, erase_batch=3)

sampled = pytest.mark.parametrize("count", depths(QUICK, EVERY, ids=("sampled", "every")))


class Scene:
    """A bystander's repository, a deleted repository and a deleted namespace that share its layers."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world, self.directory = world, directory
        self.store = MortalStore(directory / "objects")
        self.harness = RaceHarness(world, store=self.store, settings=SETTINGS, policy=NOW)
        self.race = RaceActors(self.harness)
        shared = self.race.layer("shared")
        standing = self.race.have(self.race.image(shared, self.race.layer("own")))
        world.tag("bystander", manifest=standing)
        self.kept = set(self.store.objects)
        for where in (world.repository("doomed"), world.repository("r", namespace=world.namespace("gone"))):
            for n in range(3):
                image = self.race.have(self.race.image(self.race.layer(f"{where} {n}"), shared), where)
                world.tag(f"t{n}", manifest=image)
            world.tag("index", manifest=self.race.have(self.race.index(image), where))
            world.permission(world.namespace_id, repository=where)
            world.quota(where)
        world.quota()

    def context(self) -> JobContext:
        return make_context({LOCATION: self.store}, settings=SETTINGS, policy=NOW)

    def purge(self) -> None:
        """Every purge and the rest of the pipeline to rest, as a restarted process does it."""
        context = self.context()
        errors = [turn for turn in purge_to_the_end(context) if isinstance(turn, Exception)]
        assert not errors
        let_fences_end(self.world.execute)
        run_to_quiescence(context)

    def retain(self) -> None:
        retain_repository(self.context(), self.world.repository_id, budget_s=PATIENCE_S, policy=RULES)

    def sweep(self, work: Callable[[], None], check: Callable[[], None], count: int | None) -> int:
        """Kill the work at each point, or at some; run it again, and check the end."""
        self.harness.save()
        points = self._count(work)
        check()
        every = range(1, points + 1)
        chosen = random.Random(SEED).sample(every, points if count is None else min(count, points))

        def run_again() -> None:
            work()
            check()

        log = self.directory / "killed"
        return kill_at_points(self.harness, self.store, work, run_again, chosen=sorted(chosen), log=log)

    def _count(self, work: Callable[[], None]) -> int:
        def counted() -> None:
            work()
            assert self.store.counter is not None
            (self.directory / "points").write_text(str(self.store.counter.count))

        killed = run_and_kill(self.world.url, self.store, counted, fatal=-1, log=self.directory / "log")
        assert killed.finished
        wait_for_the_server(self.world.rows)
        return int((self.directory / "points").read_text())


@pytest.fixture
def scene(world: World, tmp_path: Path) -> Scene:
    return Scene(world, tmp_path)


@sampled
def test_case_71_a_purge_is_killed_at_every_step(scene: Scene, count: int | None) -> None:
    registry.delete_repository("acme/doomed", policy=NOW)
    registry.delete_namespace("gone", policy=NOW)
    mine = (scene.world.repository_id,)
    digests = scene.world.rows("SELECT digest FROM manifest WHERE repository_id <> %s", mine)

    def purged() -> None:
        scene.harness.check("at rest")
        scene.harness.check_rest()
        assert scene.world.rows("SELECT name FROM repository") == [("app",)]
        assert scene.world.rows('SELECT username FROM "user"') == [("acme",)]
        assert scene.world.rows("SELECT * FROM dredge_purge") == []
        assert set(scene.store.objects) == scene.kept
        assert exact_quota(scene.world)
        told: Counter[str] = Counter()
        types: Counter[str] = Counter()
        for type, data in scene.world.rows("SELECT type, data FROM dredge_event"):
            types[type] += 1
            if type == "registry.manifest.collected":
                told.update(item["digest"] for item in json.loads(data)["items"])
        assert sorted(told.elements()) == sorted(digest for (digest,) in digests)
        assert types["registry.repository.purged"] == 2 and types["registry.namespace.purged"] == 1

    assert scene.sweep(scene.purge, purged, count) >= QUICK


@sampled
def test_case_73_retention_is_killed_at_every_step(scene: Scene, count: int | None) -> None:
    world = scene.world
    for n in range(4):
        image = scene.race.have(scene.race.image(scene.race.layer(f"old {n}")))
        world.tag(f"old{n}", manifest=image, start_ms=world.now_ms - 9 * DAY_MS)
    world.tag("soon", ended_ms=world.now_ms + 1_000_000, manifest=image)
    world.quota()

    def ended() -> None:
        names = [(f"old{n}",) for n in range(4)]
        alive = "lifetime_end_ms IS NULL OR lifetime_end_ms > extract(epoch FROM now()) * 1000"
        mine = f"repository_id = {world.repository_id} AND ({alive})"
        left = world.rows(f"SELECT name FROM tag WHERE {mine}")
        assert sorted(left) == [("bystander",), ("soon",)]
        assert world.rows("SELECT tag FROM dredge_ended_tag ORDER BY 1") == names
        told = world.rows("SELECT subject FROM dredge_event WHERE type = 'registry.tag.deleted' ORDER BY 1")
        assert told == [(f"acme/app:{name}",) for (name,) in names]
        expiring = world.rows("SELECT subject FROM dredge_event WHERE type = 'registry.tag.expiring'")
        assert sorted(expiring) == [("acme/app:bystander",), ("acme/app:soon",)]

    assert scene.sweep(scene.retain, ended, count) >= QUICK
