"""Erasers that go on where their last claim was, beside a late tombstone and a push."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from model.db import queue_start
from model.db.connection import execute, fetch, transaction
from model.storage_paths import object_path
from tests.support.explorer import Report
from tests.support.pipeline import BUDGET_S, LOCATION
from tests.support.race_actors import RaceActors
from tests.support.world import digest_of
from worker.jobs.erase import erase

TURNS = 3


def test_no_tombstone_is_passed_over_and_none_is_erased_for_a_living_blob(
    race: RaceActors, explore: Callable[..., Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn begins exactly where the last one was: never ten seconds before."""
    monkeypatch.setattr(queue_start, "BACK_S", 0.0)
    monkeypatch.setattr(queue_start, "STEP_S", 0.0)
    for text in ("one", "two", "three"):
        race.tombstone(text)
    late = digest_of("late")
    race.harness.store.objects[object_path(late, True, "")] = b"late"

    def eraser() -> None:
        """A process of its own: a few turns, each request for one object."""
        given = race.harness.context
        context = replace(given, settings=replace(given.settings, erase_batch=1))
        for _ in range(TURNS):
            erase(context, budget_s=BUDGET_S)

    def review() -> None:
        """Commit late a row that comes before the others."""
        with transaction():
            execute(
                "INSERT INTO dredge_tombstone (digest, path, location, size, created_ms, due_ms)"
                " VALUES (%s, %s, %s, 4, 0, 0)",
                (late, object_path(late, True, ""), LOCATION),
            )
            fetch("SELECT count(*) FROM dredge_tombstone")

    explore(one=eraser, other=eraser, review=review, push=race.push_blob("two"))
