"""Orphans are confirmed by the second pass, judged by their stage, and gone at rest."""

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
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import LOCATION, make_context, run_to_quiescence
from tests.support.race_actors import RaceActors
from tests.support.race_harness import RaceHarness
from tests.support.snapshot import Table
from tests.support.world import World, digest_of
from worker.cli import dredge
from worker.jobs.sweep import sweep
from worker.jobs.sweep_result import Swept
from worker.settings import Settings
from worker.storage.base import ObjectInfo, StoreUnavailable
from worker.storage.local import LocalStore

DAY_S = 86_400
# Under which every object is older than the longest push.
AGED = replace(DEFAULT, upload_ttl_ms=0, push_ttl_ms=0)
CASCADE = replace(DEFAULT, referrers="cascade")


@pytest.fixture
def policy() -> Policy:
    return DEFAULT


@pytest.fixture
def race(world: World, policy: Policy) -> Iterator[RaceActors]:
    """A registry with a bystander; what is seen twice is confirmed at once."""
    with RaceHarness(world, policy=policy, settings=Settings(sweep_delay_s=0)) as harness:
        made = RaceActors(harness)
        standing = made.have(made.image(made.layer("bystander")))
        world.label(standing)
        world.tag("bystander", manifest=standing)
        world.tag_pulls("bystander")
        world.manifest_pulls(standing)
        world.quota()
        yield made


def go(race: RaceActors, **options: bool) -> dict[str, Swept]:
    return {swept.kind: swept for swept in sweep(race.harness.context, budget_s=PATIENCE_S, **options)}


def twice_and_rest(race: RaceActors) -> None:
    """Two sweeps, and the collector after them."""
    go(race)
    go(race)
    run_to_quiescence(race.harness.context)


def orphan_manifest(race: RaceActors) -> None:
    image = race.have(race.image(race.layer("config"), race.layer("layer")))
    race.world.label(image)
    race.world.quota()


def orphan_index_of_a_tree(race: RaceActors) -> None:
    child = race.have(race.image(race.layer("leaf")))
    race.have(race.index(race.have(race.index(child, note="inner")), note="outer"))
    race.world.quota()


def orphan_cycle(race: RaceActors) -> None:
    first = race.have(race.image(race.layer("in a circle")))
    second = race.have(race.index(first))
    race.world.child(first, second)
    race.world.quota()


def loose_blob(race: RaceActors) -> None:
    race.layer("loose")


def loose_label(race: RaceActors) -> None:
    media_type = race.world.lookup("mediatype", "text/plain")
    race.world.insert("label", uuid="u", key="k", value="v", media_type_id=media_type, source_type_id=1)


def pulls_of_nothing(race: RaceActors) -> None:
    race.world.tag_pulls("never")
    gone = race.world.manifest()
    race.world.manifest_pulls(gone)
    race.world.execute("DELETE FROM manifest WHERE id = %s", (int(gone),))


def candidate_of_a_lost_repository(race: RaceActors) -> None:
    race.world.insert("dredge_manifest_candidate", repository_id=99, manifest_id=1, created_ms=1)


def unknown_objects(race: RaceActors) -> None:
    race.harness.store.objects[object_path(digest_of("unknown"), True, "")] = b"unknown"
    race.harness.store.objects["uploads/01234567-89ab-cdef-0123-456789abcdef"] = b"chunk"
    race.harness.store.objects["sharedimages/01234567-89ab-cdef-0123-456789abcdef/layer"] = b"old"


LEFT_BEHIND: list[Callable[[RaceActors], None]] = [
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
def test_case_30_44_what_nothing_leads_to_goes_after_two_passes(
    race: RaceActors, leave: Callable[[RaceActors], None]
) -> None:
    before, objects = race.world.snapshot(), dict(race.harness.store.objects)
    leave(race)
    if leave is not candidate_of_a_lost_repository:
        with race.world.unchanged():
            go(race)
        run_to_quiescence(race.harness.context)
        assert race.harness.store.objects != objects or _ids(race.world.snapshot()) != _ids(before)
    twice_and_rest(race)
    after = race.world.snapshot()
    assert _ids(after) == _ids(before)
    assert race.harness.store.objects == objects
    race.harness.save()
    race.harness.check("swept")
    race.harness.check_rest()
    assert not after["dredge_orphan"]


def _ids(snapshot: dict[str, Table]) -> set[tuple[str, object]]:
    """Every row but the history and the events, which tell of what went."""
    telling = {
        "dredge_event",
        "dredge_certificate",
        "dredge_collection",
        "dredge_cursor",
        "dredge_due",
        "dredge_orphan",
        "dredge_sweep",
    }
    return {(table, id) for table, rows in snapshot.items() if table not in telling for id in rows}


def test_the_two_passes_are_as_far_apart_as_the_delay(race: RaceActors) -> None:
    loose_blob(race)
    slow = replace(race.harness.context, settings=Settings(sweep_delay_s=DAY_S))
    for _ in range(3):
        found = {swept.kind: swept for swept in sweep(slow, budget_s=PATIENCE_S)}
        assert (found["blob"].suspects, found["blob"].confirmed) == (1, 0)
    race.world.execute("UPDATE dredge_orphan SET first_seen_ms = first_seen_ms - %s", (DAY_S * 1000,))
    found = {swept.kind: swept for swept in sweep(slow, budget_s=PATIENCE_S)}
    assert (found["blob"].suspects, found["blob"].confirmed) == (1, 1)


def test_what_is_used_between_two_passes_starts_again(race: RaceActors) -> None:
    image = race.have(race.image(race.layer("loose")))
    go(race)
    tag = race.world.tag("for a while", manifest=image)
    go(race)
    assert not race.world.value("SELECT count(*) FROM dredge_orphan")
    race.world.execute("DELETE FROM tag WHERE id = %s", (int(tag),))
    assert go(race)["manifest"].confirmed == 0
    assert go(race)["manifest"].confirmed == 1


def test_a_dry_run_counts_and_changes_nothing(race: RaceActors) -> None:
    for leave in LEFT_BEHIND:
        leave(race)
    with race.world.changes() as changes:
        found = go(race, dry_run=True)
    assert not changes
    assert found["manifest"].suspects == 6
    assert found["blob"].suspects == 1 and found["label"].suspects == 1
    assert found["object at local_us"].suspects == 3


@pytest.mark.parametrize("policy", [CASCADE], ids=["cascade"])
def test_a_referrer_whose_subject_never_came_goes_after_its_grace(race: RaceActors) -> None:
    late = race.have(race.image(race.layer("late"), subject=digest_of("never pushed")))
    young = race.have(race.image(race.layer("young"), subject=digest_of("never pushed")))
    race.world.tag("$temp-1", manifest=late, hidden=True, start_ms=race.world.now_ms - 25 * HOUR_MS)
    race.world.tag("$temp-2", manifest=young, hidden=True, start_ms=race.world.now_ms - HOUR_MS)
    twice_and_rest(race)
    left = {id for (id,) in race.world.rows("SELECT id FROM manifest")}
    assert late not in left and young in left


def test_a_pass_goes_on_where_the_last_one_ended(race: RaceActors, monkeypatch: pytest.MonkeyPatch) -> None:
    few = replace(rows.BLOBS, per_slice=2)
    monkeypatch.setattr("worker.jobs.sweep.KINDS", (few,))
    for n in range(5):
        race.layer(f"loose {n}")
    looked = []
    for _ in range(3):
        swept = sweep(race.harness.context, budget_s=0)[0]
        looked.append((swept.looked, swept.has_more))
    assert looked == [(2, True), (2, True), (2, True)]
    assert sweep(race.harness.context, budget_s=0)[0] == Swept("blob")
    assert race.world.value("SELECT count(*) FROM dredge_orphan WHERE kind = 'blob'") == 5
    folders = sweep(race.harness.context, budget_s=0)[1]
    assert folders.has_more


def test_the_empty_layer_and_what_is_none_of_ours_stay(race: RaceActors) -> None:
    race.harness.store.objects[object_path(EMPTY_LAYER, True, "")] = b"empty"
    race.harness.store.objects["userfiles/logs/1"] = b"build log"
    kept = dict(race.harness.store.objects)
    twice_and_rest(race)
    assert race.harness.store.objects == kept


def test_case_46_a_listing_that_breaks_off_marks_nothing(world: World, tmp_path: Path) -> None:
    class Broken(LocalStore):
        def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
            yield from list(super().list(prefix, start_after))
            if prefix == "sha256/00":
                raise StoreUnavailable("cut off")

    store = Broken(tmp_path, fsync=False)
    store.write("sha256/00/00" + "1" * 62, [b"unknown"])
    store.write("sha256/11/11" + "1" * 62, [b"unknown"])
    context = make_context({LOCATION: store}, policy=AGED, settings=Settings(sweep_delay_s=0))
    for _ in range(3):
        assert sweep(context, budget_s=PATIENCE_S)[-1].error == "cut off"
    assert not world.value("SELECT count(*) FROM dredge_tombstone")


@pytest.mark.parametrize("empty", [True, False], ids=["empty", "somebody else's"])
def test_case_46_storage_that_holds_nothing_of_ours_is_left_alone(
    world: World, tmp_path: Path, empty: bool
) -> None:
    world.tag(manifest=world.manifest(blobs=[world.blob()]))
    store = LocalStore(tmp_path, fsync=False)
    if not empty:
        store.write(object_path(digest_of("theirs"), True, ""), [b"theirs"])
    context = make_context({LOCATION: store}, policy=AGED, settings=Settings(sweep_delay_s=0))
    with world.changes() as changes:
        for _ in range(3):
            found = sweep(context, budget_s=PATIENCE_S)[-1]
            assert found.confirmed == 0 and bool(found.error) is not empty
    assert not changes.added.get("dredge_tombstone") and not changes.removed


def test_the_command_reports_every_kind(
    race: RaceActors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREDGE_DATABASE_URL", race.world.url)
    monkeypatch.setenv("DREDGE_STORAGE", str(tmp_path))
    monkeypatch.setenv("DREDGE_SWEEP_DELAY_S", "0")
    loose_blob(race)
    lines = [json.loads(line) for line in CliRunner().invoke(dredge, ["sweep", "--json"]).stdout.splitlines()]
    assert {line["kind"]: line["suspects"] for line in lines}["blob"] == 1
    shown = CliRunner().invoke(dredge, ["sweep", "--dry-run"])
    assert shown.exit_code == 0 and "Nothing was changed." in shown.stdout
