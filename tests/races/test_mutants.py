"""The explorer finds each planted bug within a bounded number of schedules, and nothing without it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from model.errors import Contended, DigestBusy, ManifestGone, NoSuchBlob
from tests.races import stories
from tests.races.mutants import MUTANTS, Mutant
from tests.support.explorer import Explorer, Race
from tests.support.explorer_steps import Outcome
from tests.support.race_actors import RaceActors
from tests.support.race_harness import Broken

# They test the tests.
pytestmark = pytest.mark.slow

LIMIT = 40
EXPECTED = (Contended, DigestBusy, ManifestGone, NoSuchBlob)


@pytest.mark.parametrize(
    ("mutant", "settings", "store_type"),
    [pytest.param(each, each.settings, each.store_type, id=each.wrong) for each in MUTANTS],
)
def test_a_planted_bug_is_found(race: RaceActors, mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    actors = mutant.story(race)
    race.harness.save()

    def check(outcomes: Mapping[str, Outcome]) -> None:
        for name, outcome in outcomes.items():
            if outcome.error is not None and not isinstance(outcome.error, EXPECTED):
                raise Broken(f"{name} ended with {outcome.error!r}")
        stories.kept(race, outcomes)

    mutant.plant(monkeypatch)
    explorer = Explorer(race.harness, limit=LIMIT, preemptions=3)
    try:
        with pytest.raises(AssertionError, match=mutant.finding):
            explorer.explore(Race(mutant.wrong, actors, check, mutant.telling))
    finally:
        explorer.close()
