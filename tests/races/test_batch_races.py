"""Batches of several repositories beside pushes, each other, and collections of one."""

from __future__ import annotations

from collections.abc import Callable

from model.errors import Contended, DigestBusy, ManifestGone, NoSuchBlob
from tests.races import stories
from tests.support.explorer import Report
from tests.support.race_actors import RaceActors, gone_tag
from tests.support.world import Row

Explore = Callable[..., Report]


def two_repositories(race: RaceActors) -> tuple[int, int, Row]:
    """Two repositories of one namespace, each with a dead image of the same layer."""
    shared, here, there = race.layer("shared"), race.world.repository_id, race.world.repository()
    gone_tag(race.world, race.have(race.image(shared, note="1")))
    gone_tag(race.world, race.have(race.image(shared, note="2"), there))
    return here, int(there), shared


def test_two_batches_of_the_same_repositories_in_opposite_order(race: RaceActors, explore: Explore) -> None:
    here, there, _ = two_repositories(race)
    explore(
        first=race.collect_together(here, there),
        second=race.collect_together(there, here),
        review=race.review,
    )


def test_a_batch_beside_a_collection_of_one_of_its_repositories(race: RaceActors, explore: Explore) -> None:
    here, there, _ = two_repositories(race)
    explore(batch=race.collect_together(here, there), single=race.collect(there), review=race.review)


def test_a_batch_beside_a_push_that_adopts_a_dying_layer(race: RaceActors, explore: Explore) -> None:
    here, there, shared = two_repositories(race)
    race.world.uploaded(shared)
    explore(
        batch=race.collect_together(here, there),
        push=race.push_image(race.image(shared, note="3"), tag="new"),
        review=race.review,
        errors=(NoSuchBlob, ManifestGone, DigestBusy),
    )


def test_a_batch_beside_a_tag_that_comes_back_to_one_of_its_manifests(
    race: RaceActors, explore: Explore
) -> None:
    shared, there = race.layer("shared"), race.world.repository()
    image = race.have(race.image(shared, note="1"))
    gone_tag(race.world, image)
    gone_tag(race.world, race.have(race.image(shared, note="2"), there))
    explore(
        batch=race.collect_together(race.world.repository_id, int(there)),
        tag=race.tag("saved", image.digest),
        errors=(ManifestGone,),
    )


def test_a_batch_of_two_namespaces_beside_a_window_that_is_lengthened(
    race: RaceActors, explore: Explore
) -> None:
    """All of the batch is rolled back, or it committed before the window was changed."""
    actors = stories.lengthened_window(race)
    explore(**actors, check=lambda outcomes: stories.kept(race, outcomes), errors=(Contended,))
