"""The safety net catches what it is for: each promise of the code is taken out, and a test must fail.

Nothing here is a switch of the program: texts and functions are replaced in the test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model import blob, storage_paths
from model.db.arrays import IntArray
from model.db.clock import now_ms
from model.db.connection import execute, fetch, transaction
from model.gc import review, tombstones
from model.gc import tags as expire
from model.gc.manifests import purge
from model.gc.orphans import objects as unknown
from model.policy import DEFAULT
from tests.support.crash_points import MortalStore, run_and_kill, wait_for_the_server
from tests.support.explorer import Explorer, Race
from tests.support.pipeline import BUDGET_S, LOCATION, make_context
from tests.support.race_actors import RaceActors, gone_tag
from tests.support.race_harness import RaceHarness
from tests.support.world import World, digest_of
from worker.jobs import erase as erasing
from worker.jobs import review as reviewing

# They test the tests.
pytestmark = pytest.mark.slow

LIMIT = 400


def must_fail(race: RaceActors, saying: str, **actors: Callable[[], Any]) -> None:
    """Explore until a schedule breaks the promise; it must be the one that was taken out."""
    race.harness.save()
    explorer = Explorer(race.harness, limit=LIMIT, preemptions=2)
    try:
        with pytest.raises(AssertionError, match=saying):
            explorer.explore(Race("mutated", actors))
    finally:
        explorer.close()


def without(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, part: str, instead: str = "") -> None:
    """Replace a part of a statement, which must be there once."""
    text = getattr(module, name)
    assert text.count(part) == 1, f"{name} does not hold {part!r} once: mend this test"
    monkeypatch.setattr(module, name, text.replace(part, instead))


def test_without_the_row_lock_a_tagged_manifest_is_lost(
    race: RaceActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Manifests judged without being locked: a tag that comes between judgement and deletion goes with it."""
    locks = "m.repository_id = ANY(%(repositories)s)\n    FOR UPDATE SKIP LOCKED\n)"
    without(monkeypatch, expire, "_EXPIRE", locks, "m.repository_id = ANY(%(repositories)s)\n)")
    image = race.have(race.image(race.layer("loose")))
    columns = {"repository_id": race.world.repository_id, "manifest_id": image, "created_ms": 1}
    race.world.insert("dredge_manifest_candidate", **columns)
    must_fail(race, "was promised", tag=race.tag("saved", image.digest), collect=race.collect())


def test_where_blobs_are_judged_before_they_are_recorded_two_collections_leak_one(
    race: RaceActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of two collections sees the other's reference, and neither records the blob."""
    used = "WHERE NOT EXISTS (SELECT FROM manifestblob o WHERE o.blob_id = lost.blob_id"
    judged = f"FROM lost {used} AND o.manifest_id <> ALL(%(dead)s))\n), counted"
    without(monkeypatch, purge, "_PURGE", "FROM lost\n), counted", judged)
    shared, other = race.layer("shared"), race.world.repository()
    gone_tag(race.world, race.have(race.image(shared)))
    gone_tag(race.world, race.have(race.image(shared), other))
    must_fail(race, "blob-orphaned", first=race.collect(), second=race.collect(other))


def test_where_blobs_are_judged_in_the_statement_that_locks_them_a_linked_blob_is_lost(
    race: RaceActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by a snapshot that is older than the lock: what was linked meanwhile is not seen."""

    def judge_at_once(*, policy: Any, limit: int) -> None:
        with transaction():
            dead = fetch(
                "SELECT b.id FROM imagestorage b WHERE b.id IN (SELECT blob_id FROM dredge_blob_candidate)"
                " AND NOT EXISTS (SELECT FROM manifestblob r WHERE r.blob_id = b.id)"
                " AND NOT EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id)"
            )
            fetch(
                "SELECT id FROM imagestorage WHERE id = ANY(%s) FOR UPDATE",
                (IntArray(row.id for row in dead),),
            )
            for row in dead:
                for table in ("imagestorageplacement WHERE storage_id", "uploadedblob WHERE blob_id"):
                    fetch(f"DELETE FROM {table} = %s", (row.id,))
                fetch("DELETE FROM imagestorage WHERE id = %s", (row.id,))

    dying = race.layer("dying")
    race.world.insert("dredge_blob_candidate", blob_id=dying, created_ms=1)
    must_fail(
        race,
        "was promised|known to no row",
        push=race.push_blob("dying"),
        review=lambda: judge_at_once(policy=0, limit=1),
    )


def erase_without_tombstone(store: Any) -> Callable[..., review.Reviewed]:
    """A review that deletes rows, commits, and then erases: nothing remembers the objects in between."""
    real = review.review_batch

    def mutated(**options: Any) -> review.Reviewed:
        with transaction():
            found = real(**options)
            tombstones = fetch("DELETE FROM dredge_tombstone RETURNING path")
        store.erase([tombstone.path for tombstone in tombstones])
        return found

    return mutated


def test_where_objects_are_erased_before_a_tombstone_is_committed_a_push_loses_its_object(
    race: RaceActors,
) -> None:
    race.world.insert("dredge_blob_candidate", blob_id=race.layer("dying"), created_ms=1)
    mutated = erase_without_tombstone(race.harness.store)
    must_fail(
        race,
        "is needed and missing",
        push=race.push_blob("dying"),
        review=lambda: mutated(policy=DEFAULT, limit=10) and None,
    )


def test_where_objects_are_erased_before_a_tombstone_is_committed_a_kill_leaks_them(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MortalStore(tmp_path / "objects")
    harness = RaceHarness(world, store=store)
    world.insert("dredge_blob_candidate", blob_id=RaceActors(harness).layer("dying"), created_ms=1)
    harness.save()
    monkeypatch.setattr(reviewing, "review_batch", erase_without_tombstone(store))

    def work() -> None:
        reviewing.review(make_context({LOCATION: store}), budget_s=BUDGET_S)

    leaks = 0
    for fatal in range(1, 60):
        harness.reset()
        killed = run_and_kill(world.url, store, work, fatal=fatal, log=tmp_path / "killed")
        wait_for_the_server(world.rows)
        if killed.finished:
            break
        leaks += "is known to no row" in str(_broken(harness))
    assert leaks


def _broken(harness: RaceHarness) -> AssertionError | None:
    try:
        harness.check("after the kill")
    except AssertionError as error:
        return error
    return None


def test_without_the_tombstones_second_look_an_object_that_is_needed_again_goes(
    race: RaceActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows share one digest, as they may; one dies, and its tombstone is carried out blindly."""
    monkeypatch.setattr(erasing, "find_referred", lambda tombstones: frozenset())
    race.world.insert("dredge_blob_candidate", blob_id=race.layer("twice"), created_ms=1)
    other = race.layer("twice")
    race.world.tag("living", manifest=race.have(race.image(other)))
    must_fail(race, "is needed and missing", review=race.review, erase=race.erase)


def test_where_a_claim_does_not_fence_its_tombstones_a_push_loses_its_object(
    race: RaceActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, tombstones, "_CLAIM", "fenced_until_ms = %(until)s", "fenced_until_ms = NULL")
    race.tombstone("dead")
    must_fail(race, "is needed and missing", push=race.push_blob("dead"), erase=race.erase)


def test_without_the_digests_lock_two_pushes_make_two_rows(
    race: RaceActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlocked(sql: str, params: Any = None) -> int:
        return 0 if "dredge.digest" in sql else execute(sql, params)

    monkeypatch.setattr(blob, "execute", unlocked)

    def one_row(outcomes: Any) -> None:
        count = "SELECT count(*) FROM imagestorage WHERE content_checksum = %s"
        assert race.world.value(count, (digest_of("new"),)) == 1, "two rows"

    race.harness.save()
    explorer = Explorer(race.harness, limit=LIMIT, preemptions=2)
    pushes = {"first": race.push_blob("new"), "second": race.push_blob("new")}
    try:
        with pytest.raises(AssertionError, match="two rows"):
            explorer.explore(Race("mutated", pushes, one_row))
    finally:
        explorer.close()


def test_without_the_digests_lock_a_sweep_takes_the_object_of_a_push(
    race: RaceActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The push looks for a tombstone, the sweep looks for a row: neither finds what the other writes."""

    def unlocked(sql: str, params: Any = None) -> int:
        return 0 if "dredge.digest" in sql else execute(sql, params)

    monkeypatch.setattr(unknown, "execute", unlocked)
    path = storage_paths.object_path(digest_of("unknown"), True, "")
    race.harness.store.objects[path] = b"unknown"
    race.world.execute("INSERT INTO dredge_orphan VALUES ('object', %s, 1)", (f"{LOCATION}:{path}",))

    def sweep() -> None:
        folder = path.rpartition("/")[0]
        unknown.mark_unknown_objects(LOCATION, folder, [(path, 7)], now_ms=now_ms(), delay_ms=0)
        race.erase()

    must_fail(race, "is needed and missing", push=race.push_blob("unknown"), sweep=sweep)
