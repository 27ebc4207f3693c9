"""Time: requests that land late, processes that freeze, leases that end, while the clock goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.races import stories
from tests.support.explorer import Report
from tests.support.memory_store import MemoryStore
from tests.support.race_actors import RaceActors
from tests.support.race_stores import CopyingStore, LateStore

Explore = Callable[..., Report]

set_aside = pytest.mark.parametrize("settings", [stories.ASIDE], ids=["aside"])


def tellings(*schedules: stories.Telling) -> pytest.MarkDecorator:
    names = ["; ".join(f"{who} {until}".strip() for who, until in each) for each in schedules]
    return pytest.mark.parametrize("telling", schedules, ids=names)


def in_store(*types: type[MemoryStore]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("store_type", types, ids=[each.__name__ for each in types])


@in_store(LateStore)
def test_case_08_a_request_without_an_answer_lands_late(race: RaceActors, explore: Explore) -> None:
    explore(**stories.late_request(race), telling=stories.RETRIED)


@set_aside
@in_store(LateStore)
@tellings(stories.RETRIED, stories.ZOMBIE, stories.AFTER_A_SHORT_FENCE)
def test_case_08_a_move_without_an_answer_lands_late(
    race: RaceActors, explore: Explore, telling: stories.Telling
) -> None:
    explore(**stories.late_request(race), telling=telling)


@set_aside
@in_store(LateStore)
def test_case_08_a_move_lands_late_when_its_object_is_back(race: RaceActors, explore: Explore) -> None:
    explore(**stories.late_request(race), telling=stories.ZOMBIE_AFTER_RETURN)


@in_store(LateStore)
@tellings(stories.SLOW, stories.LATE)
def test_case_56_an_eraser_that_is_slow_sends_nothing_after_its_time(
    race: RaceActors, explore: Explore, telling: stories.Telling
) -> None:
    explore(**stories.slow_eraser(race), telling=telling)


@set_aside
@in_store(MemoryStore, CopyingStore)
@tellings(stories.FROZEN, stories.FROZEN_TWICE)
def test_case_38_an_eraser_that_is_frozen_past_its_fence_wakes_up(
    race: RaceActors, explore: Explore, telling: stories.Telling
) -> None:
    """It has looked at the clock already: whatever it moves comes back."""
    explore(**stories.frozen_eraser(race), telling=telling)


@set_aside
@in_store(CopyingStore)
def test_case_38_an_eraser_that_is_frozen_between_copy_and_delete(race: RaceActors, explore: Explore) -> None:
    explore(**stories.frozen_eraser(race), telling=stories.BETWEEN_COPY_AND_DELETE)


@set_aside
def test_case_78_the_lease_of_an_eraser_that_puts_back_ends(race: RaceActors, explore: Explore) -> None:
    explore(**stories.lease_ends(race), telling=stories.LEASE_OVER)


@set_aside
def test_case_78_the_trash_is_purged_at_the_moment_of_a_push(race: RaceActors, explore: Explore) -> None:
    explore(**stories.purge_and_push(race), telling=stories.PURGED_LATE)
