"""Killed at every statement, every commit and every storage call; restarted; nothing lost, nothing left."""

from __future__ import annotations

import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from model.db.connection import db
from model.errors import DatabaseUnavailable
from model.policy import DEFAULT
from tests.model.gc.test_oracle import expected_after
from tests.support.crash_points import (
    MortalStore,
    cut_commits,
    kill_at_points,
    let_fences_end,
    run_and_kill,
    wait_for_the_server,
)
from tests.support.depths import IN_CI, depths
from tests.support.oracle import Oracle, Snapshot, Verdict
from tests.support.pipeline import LOCATION, make_context, run_to_quiescence
from tests.support.race_actors import RaceActors, gone_tag
from tests.support.race_harness import RaceHarness
from tests.support.world import Row, World, digest_of
from worker.settings import Settings

SEED = int(os.environ.get("SEED", "1"))
# CI tries a seeded sample of the hundreds of points; `make slow` by hand tries every one.
EVERY, QUICK = 50 if IN_CI else None, 12
IMAGES = 3


class Scene:
    """A registry with every kind of garbage and a bystander, on files, and what must become of it."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world, self.directory = world, directory
        self.store = MortalStore(directory / "objects")
        self.harness = RaceHarness(
            world, store=self.store, settings=Settings(batch_manifests=2, erase_batch=3)
        )
        self.race = RaceActors(self.harness)
        self._build()
        self.harness.save()
        self.before = world.snapshot()
        self.verdict: Verdict = Oracle(self.before, world.now_ms, DEFAULT).judge()
        self.expected: Snapshot = expected_after(self.before, self.verdict)
        self.kept = set(self.store.objects) - {path for _, path in self.verdict.objects}

    def _build(self) -> None:
        race, world = self.race, self.world
        shared = race.layer("shared by the living and the dead")
        world.tag("bystander", manifest=race.have(race.image(shared, race.layer("own"))))
        for n in range(IMAGES):
            dead = race.have(
                race.image(race.layer(f"config {n}"), race.layer(f"layer {n}"), shared, note=f"{n}")
            )
            world.label(dead)
            world.security(dead)
            gone_tag(world, dead, f"gone {n}")
        gone_tag(world, race.have(race.index(dead, note="index")), "index")
        world.uploaded(race.layer("never used"), expires_ms=1)
        upload = world.upload(created_ms=1)
        self.store.objects[f"uploads/{upload.uuid}"] = b"chunk"
        other = world.repository()
        gone_tag(world, race.have(race.image(shared, note="elsewhere"), other))
        world.quota()
        world.quota(other)

    def pipeline(self) -> None:
        """The whole collector, to rest; builds its own context, as a restarted process does."""
        let_fences_end(self.world.execute)
        settings = Settings(batch_manifests=2, erase_batch=3)
        run_to_quiescence(make_context({LOCATION: self.store}, settings=settings))

    def restarted(self) -> None:
        """The same by a process that comes when the next try of the killed attempts has come."""
        self.world.execute("UPDATE dredge_due SET next_try_ms = 0 WHERE attempts > 0")
        self.pipeline()

    def check_end(self) -> None:
        """Rows, objects and quota are what the oracle says, and every death was told once."""
        self.harness.check("at rest")
        self.harness.check_rest()
        after = self.world.snapshot()
        assert {table: after[table] for table in self.expected} == self.expected
        assert set(self.store.objects) == self.kept
        collected: Counter[tuple[int, str]] = Counter()
        erased = set()
        for row in after["dredge_event"].values():
            data = json.loads(row["data"])
            if row["type"] == "registry.manifest.collected":
                collected.update((data["repository_id"], item["digest"]) for item in data["items"])
            if row["type"] == "registry.blob.erased":
                erased |= {item["subject"] for item in data["items"]}
        assert sorted(collected.elements()) == self.verdict.dead_digests
        assert len(erased) == len(self.verdict.objects)


@pytest.fixture
def scene(world: World, tmp_path: Path) -> Iterator[Scene]:
    yield Scene(world, tmp_path)


@pytest.fixture(params=depths(QUICK, EVERY, ids=("sampled", "every")))
def sweep(request: pytest.FixtureRequest, scene: Scene) -> Callable[..., int]:
    """Kill `work` at each point (or at some, seeded), `check` what is left; how many points were tried."""

    def kill(work: Callable[[], Any], check: Callable[[], None], points: int) -> int:
        chosen: Sequence[int] = range(1, points + 1)
        if request.param is not None:
            chosen = sorted(random.Random(SEED).sample(chosen, min(request.param, points)))
        log = scene.directory / "killed"
        tried = kill_at_points(scene.harness, scene.store, work, check, chosen=chosen, log=log)
        sys.stdout.write(f"{request.node.name}: {tried} kill points of {points}, seed {SEED}\n")
        return tried

    return kill


def count_points(scene: Scene, work: Callable[[], Any]) -> int:
    """How many points a whole run has."""
    scene.harness.reset()

    def counted() -> None:
        work()
        counter = scene.store.counter
        assert counter is not None
        (scene.directory / "points").write_text(str(counter.count))

    killed = run_and_kill(scene.world.url, scene.store, counted, fatal=-1, log=scene.directory / "count")
    assert killed.finished
    wait_for_the_server(scene.world.rows)
    return int((scene.directory / "points").read_text())


def test_case_32_33_34_the_pipeline_is_killed_at_every_step(scene: Scene, sweep: Callable[..., int]) -> None:
    """After the tags, after the manifests, after the blob rows, in the middle of the objects."""
    points = count_points(scene, scene.pipeline)
    scene.check_end()

    def restarted() -> None:
        scene.restarted()
        scene.check_end()

    assert sweep(scene.pipeline, restarted, points) >= min(points, QUICK)


def test_a_push_is_killed_at_every_step(scene: Scene, sweep: Callable[..., int]) -> None:
    """Of a new image and of one that is dying; what the dead push left goes when its time is over."""
    race = scene.race
    texts = ["config 0", "layer 0", "brand new"]
    image = race.image(*(Row(0, digest=digest_of(text), size=len(text)) for text in texts))
    push = race.push_all(texts, image, "pushed")

    def forgotten() -> None:
        let_fences_end(scene.world.execute)
        run_to_quiescence(scene.harness.context)
        scene.harness.check("at rest")
        scene.world.execute("UPDATE uploadedblob SET expires_at = to_timestamp(0)")
        scene.world.execute("UPDATE tag SET lifetime_end_ms = id WHERE name <> 'bystander'")
        let_fences_end(scene.world.execute)
        run_to_quiescence(scene.harness.context)
        scene.harness.check("forgotten")
        scene.harness.check_rest()
        assert set(scene.store.objects) == scene.kept
        assert scene.world.value("SELECT count(*) FROM manifest") == 1

    sweep(push, forgotten, count_points(scene, push))


@pytest.mark.parametrize("which", range(1, 9))
def test_case_41_the_outcome_of_a_commit_is_unknown(scene: Scene, which: int) -> None:
    """The server commits, the answer is lost: the next run finds the work done and does not repeat it."""
    scene.harness.reset()
    restore = cut_commits(which)
    try:
        with pytest.raises(DatabaseUnavailable):
            scene.pipeline()
    finally:
        restore()
        db.close_all()
    scene.harness.check("after the cut")
    scene.restarted()
    scene.check_end()
