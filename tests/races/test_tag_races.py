"""Tags and the time machine against the collection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model import namespace
from model.db.clock import NOW_MS_SQL
from model.errors import Contended, ManifestGone, NotRestorable
from model.policy import HOUR_MS
from tests.support.explorer import Report
from tests.support.race_actors import Cast, gone_tag

Explore = Callable[..., Report]


def test_case_09_a_restore_at_the_instant_the_window_closes(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("old")))
    tag = cast.world.tag("old", manifest=image, ended_ms=1)
    window_ms = 14 * 24 * HOUR_MS
    reset = cast.arena.reset

    def close_soon() -> None:
        reset()
        closing = f"{NOW_MS_SQL} - {window_ms} + 9"
        cast.world.execute(f"UPDATE tag SET lifetime_end_ms = {closing} WHERE id = {int(tag)}")

    cast.arena.reset = close_soon  # type: ignore[method-assign]
    report = explore(
        restore=cast.restore("old", image.digest),
        collect=cast.collect(),
        errors=(NotRestorable, ManifestGone),
    )
    assert report.schedules


def test_case_10_latest_moves_away_and_back(cast: Cast, explore: Explore) -> None:
    layer = cast.layer("one")
    first, second = cast.have(cast.image(layer, note="1")), cast.have(cast.image(layer, note="2"))
    gone_tag(cast.world, first, "latest")
    cast.world.tag("latest", manifest=second)
    explore(
        back=cast.tag("latest", first.digest),
        collect=cast.collect(),
        review=cast.review,
        errors=(ManifestGone,),
    )


def test_case_11_a_tag_on_an_untagged_manifest(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("loose")))
    columns = {"repository_id": cast.world.repository_id, "manifest_id": image, "created_ms": 1}
    cast.world.insert("dredge_manifest_candidate", **columns)
    report = explore(tag=cast.tag("saved", image.digest), collect=cast.collect(), errors=(ManifestGone,))
    assert len(report.outcomes) == 2


def test_case_12_the_last_tag_goes_while_the_manifest_is_judged(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("twice tagged")))
    gone_tag(cast.world, image)
    cast.world.tag("last", manifest=image)
    explore(delete=cast.delete("last", for_good=image.digest), collect=cast.collect())
    cast.arena.check_rest()


def test_case_13_the_window_is_lengthened_while_a_batch_runs(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("recoverable")))
    cast.world.tag("old", manifest=image, ended_ms=cast.world.now_ms - 20 * 24 * HOUR_MS)

    def lengthen_and_restore() -> Any:
        namespace.change_window("acme", 28 * 24 * 3600)
        return cast.restore("old", image.digest)()

    report = explore(
        lengthen=lengthen_and_restore, collect=cast.collect(), errors=(NotRestorable, ManifestGone, Contended)
    )
    assert {endings[0] for endings in report.outcomes} >= {"yes", "NotRestorable"}


def test_case_18_two_rows_of_a_name_want_the_same_end(cast: Cast, explore: Explore) -> None:
    image = cast.have(cast.image(cast.layer("one")))
    other = cast.have(cast.image(cast.layer("two")))
    cast.world.tag("name", manifest=image)
    explore(
        first=cast.tag("name", other.digest),
        second=cast.delete("name", for_good=image.digest),
        collect=cast.collect(),
        check=lambda outcomes: None,
        errors=(ManifestGone,),
    )
