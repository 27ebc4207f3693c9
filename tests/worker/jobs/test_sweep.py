"""Garbage without a trace is found by the second sighting, judged by its stage, and gone at rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from model.gc.orphans import rows
from model.policy import DEFAULT, HOUR_MS, Policy
from model.storage_paths import EMPTY_LAYER, object_path
from tests.support.pipeline import LOCATION, make_toolbox, run_to_quiescence
from tests.support.race_actors import Cast
from tests.support.race_harness import Arena
from tests.support.snapshot import Table
from tests.support.world import World, digest_of
from worker.cli import dredge
from worker.jobs.sweep import Swept, sweep
from worker.settings import Settings
from worker.storage.base import ObjectInfo, StoreUnavailable
from worker.storage.local import LocalStore

DAY_S = 86_400
CASCADE = replace(DEFAULT, referrers="cascade")


@pytest.fixture
def policy() -> Policy:
    return DEFAULT


@pytest.fixture
def cast(world: World, policy: Policy) -> Iterator[Cast]:
    """A registry with a bystander; what is seen twice is condemned at once."""
    with Arena(world, policy=policy, settings=Settings(sweep_delay_s=0)) as arena:
        made = Cast(arena)
        standing = made.have(made.image(made.layer("bystander")))
        world.label(standing)
        world.tag("bystander", manifest=standing)
        world.tag_pulls("bystander")
        world.manifest_pulls(standing)
        world.quota()
        yield made


def go(cast: Cast, **options: bool) -> dict[str, Swept]:
    return {swept.kind: swept for swept in sweep(cast.arena.toolbox, budget_s=60, **options)}


def twice_and_rest(cast: Cast) -> None:
    """Two sweeps, and the collector after them."""
    go(cast)
    go(cast)
    run_to_quiescence(cast.arena.toolbox)


def orphan_manifest(cast: Cast) -> None:
    image = cast.have(cast.image(cast.layer("config"), cast.layer("layer")))
    cast.world.label(image)
    cast.world.quota()


def orphan_index_of_a_tree(cast: Cast) -> None:
    child = cast.have(cast.image(cast.layer("leaf")))
    cast.have(cast.index(cast.have(cast.index(child, note="inner")), note="outer"))
    cast.world.quota()


def orphan_cycle(cast: Cast) -> None:
    first = cast.have(cast.image(cast.layer("in a circle")))
    second = cast.have(cast.index(first))
    cast.world.child(first, second)
    cast.world.quota()


def loose_blob(cast: Cast) -> None:
    cast.layer("loose")


def loose_label(cast: Cast) -> None:
    media_type = cast.world.lookup("mediatype", "text/plain")
    cast.world.insert("label", uuid="u", key="k", value="v", media_type_id=media_type, source_type_id=1)


def pulls_of_nothing(cast: Cast) -> None:
    cast.world.tag_pulls("never")
    gone = cast.world.manifest()
    cast.world.manifest_pulls(gone)
    cast.world.execute("DELETE FROM manifest WHERE id = %s", (int(gone),))


def candidate_of_a_lost_repository(cast: Cast) -> None:
    cast.world.insert("dredge_manifest_candidate", repository_id=99, manifest_id=1, created_ms=1)


def unknown_objects(cast: Cast) -> None:
    cast.arena.store.objects[object_path(digest_of("unknown"), True, "")] = b"unknown"
    cast.arena.store.objects["uploads/01234567-89ab-cdef-0123-456789abcdef"] = b"chunk"
    cast.arena.store.objects["sharedimages/01234567-89ab-cdef-0123-456789abcdef/layer"] = b"old"


LEFT_BEHIND: list[Callable[[Cast], None]] = [
    orphan_manifest,
    orphan_index_of_a_tree,
    orphan_cycle,
    loose_blob,
    loose_label,
    pulls_of_nothing,
    candidate_of_a_lost_repository,
    unknown_objects,
]


@pytest.mark.parametrize("leave", LEFT_BEHIND, ids=lambda leave: leave.__name__)
def test_case_30_44_what_nothing_leads_to_goes_after_two_sightings(
    cast: Cast, leave: Callable[[Cast], None]
) -> None:
    before, objects = cast.world.snapshot(), dict(cast.arena.store.objects)
    leave(cast)
    if leave is not candidate_of_a_lost_repository:
        with cast.world.unchanged():
            go(cast)
        run_to_quiescence(cast.arena.toolbox)
        assert cast.arena.store.objects != objects or _ids(cast.world.snapshot()) != _ids(before)
    twice_and_rest(cast)
    after = cast.world.snapshot()
    assert _ids(after) == _ids(before)
    assert cast.arena.store.objects == objects
    cast.arena.save()
    cast.arena.check("swept")
    cast.arena.check_rest()
    assert not after["dredge_sighting"]


def _ids(snapshot: dict[str, Table]) -> set[tuple[str, object]]:
    """Every row but the history and the events, which tell of what went."""
    telling = {"dredge_event", "dredge_collection", "dredge_cursor", "dredge_sighting"}
    return {(table, id) for table, rows in snapshot.items() if table not in telling for id in rows}


def test_the_two_sightings_are_as_far_apart_as_the_delay(cast: Cast) -> None:
    loose_blob(cast)
    slow = replace(cast.arena.toolbox, settings=Settings(sweep_delay_s=DAY_S))
    for _ in range(3):
        found = {swept.kind: swept for swept in sweep(slow, budget_s=60)}
        assert (found["blob"].suspects, found["blob"].condemned) == (1, 0)
    cast.world.execute("UPDATE dredge_sighting SET first_seen_ms = first_seen_ms - %s", (DAY_S * 1000,))
    found = {swept.kind: swept for swept in sweep(slow, budget_s=60)}
    assert (found["blob"].suspects, found["blob"].condemned) == (1, 1)


def test_what_is_used_between_two_sightings_starts_again(cast: Cast) -> None:
    image = cast.have(cast.image(cast.layer("loose")))
    go(cast)
    tag = cast.world.tag("for a while", manifest=image)
    go(cast)
    assert not cast.world.value("SELECT count(*) FROM dredge_sighting")
    cast.world.execute("DELETE FROM tag WHERE id = %s", (int(tag),))
    assert go(cast)["manifest"].condemned == 0
    assert go(cast)["manifest"].condemned == 1


def test_a_dry_run_counts_and_changes_nothing(cast: Cast) -> None:
    for leave in LEFT_BEHIND:
        leave(cast)
    with cast.world.changes() as changes:
        found = go(cast, dry_run=True)
    assert not changes
    assert found["manifest"].suspects == 6
    assert found["blob"].suspects == 1 and found["label"].suspects == 1
    assert found["object at local_us"].suspects == 3


@pytest.mark.parametrize("policy", [CASCADE], ids=["cascade"])
def test_a_referrer_whose_subject_never_came_goes_after_its_grace(cast: Cast) -> None:
    late = cast.have(cast.image(cast.layer("late"), subject=digest_of("never pushed")))
    young = cast.have(cast.image(cast.layer("young"), subject=digest_of("never pushed")))
    cast.world.tag("$temp-1", manifest=late, hidden=True, start_ms=cast.world.now_ms - 25 * HOUR_MS)
    cast.world.tag("$temp-2", manifest=young, hidden=True, start_ms=cast.world.now_ms - HOUR_MS)
    twice_and_rest(cast)
    left = {id for (id,) in cast.world.rows("SELECT id FROM manifest")}
    assert late not in left and young in left


def test_a_pass_goes_on_where_the_last_one_ended(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(rows.BLOBS, per_slice=2)
    monkeypatch.setattr("worker.jobs.sweep.KINDS", (few,))
    for n in range(5):
        cast.layer(f"loose {n}")
    looked = []
    for _ in range(3):
        swept = sweep(cast.arena.toolbox, budget_s=0)[0]
        looked.append((swept.looked, swept.has_more))
    assert looked == [(2, True), (2, True), (2, True)]
    assert sweep(cast.arena.toolbox, budget_s=0)[0] == Swept("blob")
    assert cast.world.value("SELECT count(*) FROM dredge_sighting WHERE kind = 'blob'") == 5
    folders = sweep(cast.arena.toolbox, budget_s=0)[1]
    assert folders.has_more


def test_the_empty_layer_and_what_is_none_of_ours_stay(cast: Cast) -> None:
    cast.arena.store.objects[object_path(EMPTY_LAYER, True, "")] = b"empty"
    cast.arena.store.objects["userfiles/logs/1"] = b"build log"
    kept = dict(cast.arena.store.objects)
    twice_and_rest(cast)
    assert cast.arena.store.objects == kept


def test_case_46_a_listing_that_breaks_off_condemns_nothing(world: World, tmp_path: Path) -> None:
    class Broken(LocalStore):
        def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
            yield from list(super().list(prefix, start_after))
            if prefix == "sha256/00":
                raise StoreUnavailable("cut off")

    store = Broken(tmp_path, fsync=False)
    store.write("sha256/00/00" + "1" * 62, [b"unknown"])
    store.write("sha256/11/11" + "1" * 62, [b"unknown"])
    toolbox = make_toolbox({LOCATION: store}, settings=Settings(sweep_delay_s=0))
    for _ in range(3):
        assert sweep(toolbox, budget_s=60)[-1].error == "cut off"
    assert not world.value("SELECT count(*) FROM dredge_tombstone")


@pytest.mark.parametrize("empty", [True, False], ids=["empty", "somebody else's"])
def test_case_46_storage_that_holds_nothing_of_ours_is_left_alone(
    world: World, tmp_path: Path, empty: bool
) -> None:
    world.tag(manifest=world.manifest(blobs=[world.blob()]))
    store = LocalStore(tmp_path, fsync=False)
    if not empty:
        store.write(object_path(digest_of("theirs"), True, ""), [b"theirs"])
    toolbox = make_toolbox({LOCATION: store}, settings=Settings(sweep_delay_s=0))
    with world.changes() as changes:
        for _ in range(3):
            found = sweep(toolbox, budget_s=60)[-1]
            assert found.condemned == 0 and bool(found.error) is not empty
    assert not changes.added.get("dredge_tombstone") and not changes.removed


def test_the_command_reports_every_kind(cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DREDGE_DATABASE_URL", cast.world.url)
    monkeypatch.setenv("DREDGE_STORAGE", str(tmp_path))
    monkeypatch.setenv("DREDGE_SWEEP_DELAY_S", "0")
    loose_blob(cast)
    lines = [json.loads(line) for line in CliRunner().invoke(dredge, ["sweep", "--json"]).stdout.splitlines()]
    assert {line["kind"]: line["suspects"] for line in lines}["blob"] == 1
    shown = CliRunner().invoke(dredge, ["sweep", "--dry-run"])
    assert shown.exit_code == 0 and "Nothing was changed." in shown.stdout
