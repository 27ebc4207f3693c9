"""Strangers: an unmodified Quay's push, its Redis that forgets, and a store that is not mounted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace

import peewee
import pytest

from tests.races import stories
from tests.races.test_time_races import in_store, set_aside
from tests.support.explorer import Report
from tests.support.race_actors import RaceActors, gone_tag
from tests.support.race_stores import SwappedStore
from tests.support.race_strangers import QuayActors, QuayRefused, redis_steps

Explore = Callable[..., Report]


@set_aside
def test_case_58_a_quay_without_locks_pushes_beside_every_step_of_the_eraser(
    race: RaceActors, explore: Explore
) -> None:
    """Whatever was set aside in between comes back."""
    explore(**stories.quay_push(race), telling=stories.OBJECT_SEEN, quota=False)


@pytest.mark.parametrize("settings", [stories.AT_ONCE, stories.ASIDE], ids=["at once", "aside"])
def test_case_57_a_row_under_another_name_of_the_store_keeps_its_object(
    race: RaceActors, explore: Explore
) -> None:
    explore(**stories.quay_row(race))


@set_aside
def test_case_58_a_quay_pushes_while_the_last_image_of_its_layer_is_collected(
    race: RaceActors, explore: Explore
) -> None:
    gone_tag(race.world, race.have(race.image(race.layer("shared"))))
    explore(
        quay=QuayActors(race).push("shared", "theirs"),
        collect=race.collect(),
        review=race.review,
        erase=race.erase,
        errors=(peewee.IntegrityError,),
        quota=False,
    )


@pytest.fixture
def quay(race: RaceActors, valkey: str) -> Iterator[QuayActors]:
    """A Quay whose locks are in a real Redis, flushed before each schedule."""
    race.harness.context = replace(
        race.harness.context, settings=replace(stories.ASIDE, quay_redis_url=valkey)
    )
    made = QuayActors(race, valkey)
    reset = race.harness.reset

    def fresh() -> None:
        reset()
        made.forget()

    race.harness.reset = fresh  # type: ignore[method-assign]
    quay_loads_its_script(made)
    with redis_steps():
        yield made


def quay_loads_its_script(quay: QuayActors) -> None:
    """Once per server: every schedule has the same steps."""
    with quay.lock("sha256:none"):
        pass


@set_aside
def test_case_58_a_quay_with_locks_pushes_beside_the_eraser(
    race: RaceActors, quay: QuayActors, explore: Explore
) -> None:
    race.tombstone("dead")
    explore(
        quay=quay.push("dead", "theirs"),
        erase=race.erase,
        again=race.erase,
        errors=(QuayRefused,),
        quota=False,
    )


@set_aside
def test_case_59_quays_redis_forgets_between_lock_and_request(
    race: RaceActors, quay: QuayActors, explore: Explore
) -> None:
    race.tombstone("dead")
    explore(
        erase=race.erase,
        flush=quay.forget,
        quay=quay.push("dead", "theirs"),
        errors=(QuayRefused,),
        quota=False,
    )


@in_store(SwappedStore)
@pytest.mark.parametrize(
    ("settings", "other_identity"),
    [(stories.AT_ONCE, None), (stories.AT_ONCE, str(uuid.uuid4())), (stories.ASIDE, None)],
    ids=["empty", "another", "set aside"],
)
def test_case_62_the_store_is_not_mounted_for_a_while(
    race: RaceActors, explore: Explore, other_identity: str | None
) -> None:
    """Nothing is settled by what another store answers, and work goes on when the right one is back."""
    actors = stories.unmounted(race)
    store = race.harness.store
    assert isinstance(store, SwappedStore)
    store.other_identity = other_identity
    explore(**actors, telling=stories.MISSING)
