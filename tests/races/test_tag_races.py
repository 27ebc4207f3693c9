"""Tags and the time machine against the collection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model import namespace
from model.db.clock import NOW_MS_SQL
from model.errors import Contended, ManifestGone, NotRestorable
from model.policy import HOUR_MS
from tests.support.explorer import Report
from tests.support.race_actors import RaceActors, gone_tag

Explore = Callable[..., Report]


def test_case_09_a_restore_at_the_instant_the_window_closes(race: RaceActors, explore: Explore) -> None:
    image = race.have(race.image(race.layer("old")))
    tag = race.world.tag("old", manifest=image, ended_ms=1)
    window_ms = 14 * 24 * HOUR_MS
    reset = race.harness.reset

    def close_soon() -> None:
        reset()
        closing = f"{NOW_MS_SQL} - {window_ms} + 9"
        race.world.execute(f"UPDATE tag SET lifetime_end_ms = {closing} WHERE id = {int(tag)}")

    race.harness.reset = close_soon  # type: ignore[method-assign]
    report = explore(
        restore=race.restore("old", image.digest),
        collect=race.collect(),
        errors=(NotRestorable, ManifestGone),
    )
    assert report.schedules


def test_case_10_latest_moves_away_and_back(race: RaceActors, explore: Explore) -> None:
    layer = race.layer("one")
    first, second = race.have(race.image(layer, note="1")), race.have(race.image(layer, note="2"))
    gone_tag(race.world, first, "latest")
    race.world.tag("latest", manifest=second)
    explore(
        back=race.tag("latest", first.digest),
        collect=race.collect(),
        review=race.review,
        errors=(ManifestGone,),
    )


def test_case_11_a_tag_on_an_untagged_manifest(race: RaceActors, explore: Explore) -> None:
    image = race.have(race.image(race.layer("loose")))
    columns = {"repository_id": race.world.repository_id, "manifest_id": image, "created_ms": 1}
    race.world.insert("dredge_manifest_candidate", **columns)
    report = explore(tag=race.tag("saved", image.digest), collect=race.collect(), errors=(ManifestGone,))
    assert len(report.outcomes) == 2


def test_case_12_the_last_tag_goes_while_the_manifest_is_judged(race: RaceActors, explore: Explore) -> None:
    image = race.have(race.image(race.layer("twice tagged")))
    gone_tag(race.world, image)
    race.world.tag("last", manifest=image)
    explore(delete=race.delete("last", for_good=image.digest), collect=race.collect())
    race.harness.check_rest()


def test_case_13_the_window_is_lengthened_while_a_batch_runs(race: RaceActors, explore: Explore) -> None:
    image = race.have(race.image(race.layer("recoverable")))
    race.world.tag("old", manifest=image, ended_ms=race.world.now_ms - 20 * 24 * HOUR_MS)

    def lengthen_and_restore() -> Any:
        namespace.change_window("acme", 28 * 24 * 3600)
        return race.restore("old", image.digest)()

    report = explore(
        lengthen=lengthen_and_restore, collect=race.collect(), errors=(NotRestorable, ManifestGone, Contended)
    )
    assert {endings[0] for endings in report.outcomes} >= {"yes", "NotRestorable"}


def test_case_18_two_rows_of_a_name_want_the_same_end(race: RaceActors, explore: Explore) -> None:
    image = race.have(race.image(race.layer("one")))
    other = race.have(race.image(race.layer("two")))
    race.world.tag("name", manifest=image)
    explore(
        first=race.tag("name", other.digest),
        second=race.delete("name", for_good=image.digest),
        collect=race.collect(),
        check=lambda outcomes: None,
        errors=(ManifestGone,),
    )
