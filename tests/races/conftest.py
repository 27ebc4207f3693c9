"""What every race is run on: a registry with a bystander, and the explorer.

`quick` runs the most telling schedules of each race; `deep` (slow) more: DEPTH=5000 in the
environment sets how many, SEED another order, REPLAY one schedule that a failure has printed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from model import blob
from model.errors import DigestBusy
from model.policy import DEFAULT, Policy
from tests.races import stories
from tests.support.depths import depths
from tests.support.explorer import Explorer, Race, Report
from tests.support.explorer_steps import Outcome
from tests.support.memory_store import MemoryStore
from tests.support.race_actors import RaceActors
from tests.support.race_harness import Broken, RaceHarness
from tests.support.world import World
from worker.settings import Settings

SEED = int(os.environ.get("SEED", "1"))
# All races together take about a minute of two cores.
QUICK, DEEP = 6, int(os.environ.get("DEPTH", "20"))


@pytest.fixture
def policy() -> Policy:
    return DEFAULT


@pytest.fixture
def settings() -> Settings:
    """Objects are erased at once; a test that sets them aside has others."""
    return Settings(quarantine_s=0)


@pytest.fixture
def store_type() -> type[MemoryStore]:
    return MemoryStore


@pytest.fixture
def race(
    world: World,
    policy: Policy,
    settings: Settings,
    store_type: type[MemoryStore],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[RaceActors]:
    """A registry with a bystander, exact quota and room for more; a push that meets a fence gives up."""
    monkeypatch.setattr(blob, "PATIENCE_S", 0)
    with RaceHarness(world, policy=policy, settings=settings, store=store_type()) as harness:
        made = RaceActors(harness)
        standing = made.have(made.image(made.layer("bystander")))
        world.tag("bystander", manifest=standing)
        yield made


@pytest.fixture(params=depths(QUICK, DEEP))
def explore(request: pytest.FixtureRequest, race: RaceActors) -> Iterator[Callable[..., Report]]:
    """Explore a race of named actors; each may end with success or one of the `errors`."""

    def run(
        *,
        errors: tuple[type[Exception], ...] = (),
        check: Callable[[Mapping[str, Outcome]], None] = lambda outcomes: None,
        quota: bool = True,
        telling: stories.Telling = (),
        **actors: Callable[[], Any],
    ) -> Report:
        if quota:
            for (repository,) in race.world.rows("SELECT id FROM repository"):
                race.world.quota(repository)
        race.harness.save()

        def documented(outcomes: Mapping[str, Outcome]) -> None:
            for name, outcome in outcomes.items():
                if outcome.error is not None and not isinstance(outcome.error, (*errors, DigestBusy)):
                    raise Broken(f"{name} ended with {outcome.error!r}") from outcome.error
            check(outcomes)

        explorer = Explorer(race.harness, limit=request.param, preemptions=3, seed=SEED)
        try:
            report = explorer.explore(Race(request.node.name, actors, documented, telling))
        finally:
            explorer.close()
        sys.stdout.write(f"{report} seed={SEED}\n")
        return report

    yield run
