"""The eraser: objects go, tombstones are settled or postponed, and nothing that is needed is touched."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from model import blob
from model.blob import begin_push
from model.db.clock import now_ms
from model.errors import DatabaseUnavailable, DigestBusy
from model.gc import tombstones
from model.gc.storage_identity import record_identity
from model.policy import DEFAULT
from tests.support.eraser import EraserFixture, Wrapped
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import LOCATION
from tests.support.world import World
from worker.jobs import erase as module
from worker.jobs.erase_outcome import Cleared
from worker.storage.base import Erased


def test_objects_go_with_their_tombstones_and_are_told(eraser: EraserFixture) -> None:
    tombstones = eraser.tombstones(3)
    cleared = eraser.erase()
    assert cleared == Cleared(objects=3, bytes=30) and not eraser.paths() and not eraser.left()
    ((data,),) = eraser.world.rows("SELECT data FROM dredge_event WHERE type = 'registry.blob.erased'")
    items = {item["digest"]: (item["location"], item["bytes"]) for item in json.loads(data)["items"]}
    assert items == {tombstone.digest: (LOCATION, 10) for tombstone in tombstones}
    assert eraser.world.rows("SELECT stage, objects, bytes FROM dredge_collection") == [("erase", 3, 30)]


def test_without_tombstones_nothing_happens(eraser: EraserFixture) -> None:
    eraser.object("unknown to us")
    with eraser.world.changes() as changes:
        assert eraser.erase() == Cleared()
    assert not changes and len(eraser.paths()) == 1


def test_case_45_77_no_bytes_are_claimed_for_an_object_that_was_not_there(eraser: EraserFixture) -> None:
    eraser.tombstone("gone", written=False)
    eraser.tombstone("there")
    assert eraser.erase() == Cleared(objects=1, bytes=10, missing=1)
    assert not eraser.left()
    assert eraser.world.value("SELECT sum(bytes) FROM dredge_collection") == 10


def test_a_tombstone_that_is_not_due_waits(eraser: EraserFixture) -> None:
    eraser.tombstone("later", due_ms=eraser.world.now_ms + 60_000)
    assert eraser.erase() == Cleared() and len(eraser.paths()) == len(eraser.left()) == 1


def test_case_36_nine_of_ten_go_and_one_is_tried_again_later(eraser: EraserFixture) -> None:
    tombstones = eraser.tombstones(10)
    stuck = tombstones[4]

    def answer(path: str) -> Erased | None:
        return Erased(path, None, "permission denied") if path == stuck.path else None

    cleared = eraser.erase(Wrapped(eraser.store, answer))
    assert (cleared.objects, cleared.failed) == (9, 1)
    assert eraser.left() == [stuck] and eraser.paths() == {stuck.path}
    row = eraser.row(stuck)
    assert (row["tries"], row["last_error"], row["fenced_until_ms"]) == (1, "permission denied", None)
    assert 3_000 < row["due_ms"] - now_ms() <= 5_000
    assert eraser.erase() == Cleared()
    eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0")
    assert eraser.erase().objects == 1 and not eraser.left()


def test_retries_are_twice_as_far_apart_each_time_up_to_six_hours(eraser: EraserFixture) -> None:
    tombstone = eraser.tombstone("stuck")
    broken = Wrapped(eraser.store, lambda path: Erased(path, None, "no"))
    waits = []
    for _ in range(15):
        eraser.erase(broken)
        waits.append(round((eraser.row(tombstone)["due_ms"] - now_ms()) / 5000))
        eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0")
    assert waits[:5] == [1, 2, 4, 8, 16] and waits[-1] == 6 * 3600 / 5


def test_case_8_an_unknown_outcome_fences_the_digest_against_pushes(eraser: EraserFixture) -> None:
    tombstone = eraser.tombstone("slow")
    timeout = Wrapped(
        eraser.store, lambda path: Erased(path, None, "timed out", unknown=True), late_delete_ms=60_000
    )
    assert eraser.erase(timeout).failed == 1
    row = eraser.row(tombstone)
    assert row["fenced_until_ms"] - now_ms() > 55_000 and row["last_error"] == "timed out"
    with eraser.world.changes() as changes, pytest.raises(DigestBusy):
        push(eraser.world, tombstone.digest)
    assert not changes
    assert push(eraser.world, tombstone.digest, at_ms=row["fenced_until_ms"]) and not eraser.left()


def test_a_request_is_fenced_before_it_is_sent_and_nobody_sends_another(eraser: EraserFixture) -> None:
    tombstone = eraser.tombstone("dead")
    seen: list[Any] = []

    def crash(path: str) -> Erased | None:
        seen.append(eraser.row(tombstone)["fenced_until_ms"])  # by another connection: committed
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eraser.erase(Wrapped(eraser.store, crash, late_delete_ms=30_000))
    assert seen[0] > now_ms() + 30_000 and eraser.left() == [tombstone]
    with pytest.raises(DigestBusy) as busy:
        push(eraser.world, tombstone.digest)
    assert busy.value.facts["until_ms"] == seen[0]
    assert eraser.erase() == Cleared(), "the request may still land: no retry before its fence ends"
    eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0, fenced_until_ms = 1")
    assert eraser.erase() == Cleared(objects=1, bytes=10) and not eraser.left()


def test_case_55_an_unanswered_delete_is_not_retried_before_its_fence_ends(eraser: EraserFixture) -> None:
    tombstone = eraser.tombstone("slow")
    silent = Wrapped(
        eraser.store, lambda path: Erased(path, None, "timed out", unknown=True), late_delete_ms=60_000
    )
    eraser.erase(silent)
    row = eraser.row(tombstone)
    assert row["due_ms"] >= row["fenced_until_ms"] > now_ms() + 55_000
    with eraser.world.changes() as changes:
        assert eraser.erase() == Cleared()
    assert not changes and eraser.paths() == {tombstone.path}


def test_case_56_a_request_is_not_sent_after_its_time(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen between its last look at the rows and the request: the clock has moved on."""
    tombstone = eraser.tombstone("dead")
    monkeypatch.setattr(module, "WINDOW_MS", 0)
    assert eraser.erase(budget_s=0) == Cleared(has_more=False)
    row = eraser.row(tombstone)
    assert eraser.paths() == {tombstone.path}
    assert (row["fenced_until_ms"], row["tries"], row["set_aside"]) == (None, 0, False)
    monkeypatch.undo()
    assert eraser.erase() == Cleared(objects=1, bytes=10)


def test_an_answer_that_comes_after_the_fence_still_settles(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is slower than the fence: another eraser must not begin again while this one waits."""
    tombstone = eraser.tombstone("dead")
    others: list[Cleared] = []
    real = now_ms

    def answer_late(path: str) -> Erased | None:
        fence_ms = eraser.row(tombstone)["fenced_until_ms"] - real()
        with monkeypatch.context() as later:
            later.setattr(tombstones, "now_ms", lambda: real() + fence_ms + 1)
            others.append(eraser.run())
        return None

    assert eraser.erase(Wrapped(eraser.store, answer_late)) == Cleared(objects=1, bytes=10)
    assert others == [Cleared()] and not eraser.left()


def test_case_38_an_eraser_that_was_replaced_settles_nothing(eraser: EraserFixture) -> None:
    """Frozen in the middle of its request until its fence was over and another eraser took the row."""
    tombstone = eraser.tombstone("dead")

    def replaced(path: str) -> Erased | None:
        eraser.world.execute("UPDATE dredge_tombstone SET token = 1, due_ms = 0, fenced_until_ms = 1")
        return Erased(path, True)

    eraser.erase(Wrapped(eraser.store, replaced))
    assert eraser.left() == [tombstone] and eraser.row(tombstone)["token"] == 1
    assert not eraser.world.rows("SELECT id FROM dredge_event")
    assert eraser.erase() == Cleared(objects=1, bytes=10)


def push(world: World, digest: str, at_ms: int | None = None) -> Any:
    moment = now_ms() if at_ms is None else at_ms
    return begin_push(world.repository_id, digest, 10, location=LOCATION, policy=DEFAULT, now_ms=moment)


def test_case_1_an_object_that_a_row_needs_again_stays(eraser: EraserFixture) -> None:
    again, fresh, dead = eraser.tombstone("again"), eraser.tombstone("fresh"), eraser.tombstone("dead")
    eraser.world.blob(digest=again.digest)
    eraser.world.blob(digest=fresh.digest, placement=None)
    assert eraser.erase() == Cleared(objects=1, bytes=10, dropped=2)
    assert eraser.paths() == {again.path, fresh.path} and not eraser.left() and dead


def test_case_47_a_row_that_is_placed_elsewhere_does_not_keep_this_object(eraser: EraserFixture) -> None:
    elsewhere, legacy = eraser.tombstone("elsewhere"), eraser.tombstone("legacy")
    record_identity(LOCATION, address="", identity=str(eraser.store.read_identity()))
    record_identity("eu", address="s3://eu", identity="another store")
    eraser.world.blob(digest=elsewhere.digest, placement="eu")
    eraser.world.blob(digest=legacy.digest, cas_path=False)
    assert eraser.erase() == Cleared(objects=2, bytes=20) and not eraser.paths()


def test_a_location_that_is_not_configured_keeps_its_tombstones_and_blocks_nobody(
    eraser: EraserFixture,
) -> None:
    lost, fine = eraser.tombstone("lost", location="mars"), eraser.tombstone("fine")
    assert eraser.erase() == Cleared(objects=1, bytes=10, failed=1)
    assert eraser.left() == [lost] and "mars is not configured" in eraser.row(lost)["last_error"]
    assert fine.path not in eraser.paths()


def test_case_57_a_row_at_a_name_that_may_be_the_same_store_keeps_the_object(eraser: EraserFixture) -> None:
    """The location was renamed: rows of the old name and of the new one mean one store."""
    renamed, never_seen = eraser.tombstone("renamed"), eraser.tombstone("never seen")
    record_identity("local_eu", address="", identity=str(eraser.store.read_identity()))
    eraser.world.blob(digest=renamed.digest, placement="local_eu")
    eraser.world.blob(digest=never_seen.digest, placement="old_name")
    assert eraser.erase() == Cleared(dropped=2)
    assert eraser.paths() == {renamed.path, never_seen.path} and not eraser.left()


def test_a_turn_gives_way_when_its_budget_is_used_up(eraser: EraserFixture) -> None:
    eraser.tombstones(5)
    assert eraser.erase(budget_s=0, erase_batch=2) == Cleared(objects=2, bytes=20, has_more=True)
    assert eraser.erase(erase_batch=2) == Cleared(objects=3, bytes=30)


def test_the_rate_is_kept(eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that stands still: each request takes no time, and the eraser sleeps all of it."""
    eraser.tombstones(6)
    slept: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=slept.append))
    assert eraser.erase(erase_rate=20, erase_batch=3).objects == 6
    assert slept == [0.15, 0.15]


def test_two_erasers_at_once_take_different_tombstones(eraser: EraserFixture) -> None:
    tombstones = eraser.tombstones(6)
    entered, go_on = threading.Event(), threading.Event()
    first: list[str] = []

    def wait(path: str) -> Erased | None:
        first.append(path)
        entered.set()
        assert go_on.wait(PATIENCE_S)
        return None

    store = Wrapped(eraser.store, wait)
    slow = threading.Thread(target=eraser.run, args=(store, 0), kwargs={"erase_batch": 3})
    slow.start()
    try:
        assert entered.wait(PATIENCE_S)
        assert eraser.erase() == Cleared(objects=3, bytes=30)
        assert eraser.paths() == {tombstone.path for tombstone in tombstones[:3]}
    finally:
        go_on.set()
        slow.join()
    assert sorted(first) == sorted(tombstone.path for tombstone in tombstones[:3])
    assert not eraser.left() and not eraser.paths()
    assert eraser.world.value("SELECT sum(objects) FROM dredge_collection") == 6


def test_the_eraser_holds_no_transaction_while_the_store_works(eraser: EraserFixture) -> None:
    eraser.tombstones(3)
    seen: list[Any] = []

    def look(path: str) -> Erased | None:
        seen.append(
            eraser.world.rows(
                "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
            )
        )
        return None

    assert eraser.erase(Wrapped(eraser.store, look)).objects == 3
    assert seen == [[], [], []]


def test_an_eraser_whose_connection_is_cut_leaves_its_tombstones_fenced(eraser: EraserFixture) -> None:
    tombstones = eraser.tombstones(3)

    def cut_off(path: str) -> Erased | None:
        eraser.world.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return None

    with pytest.raises(DatabaseUnavailable):
        eraser.erase(Wrapped(eraser.store, cut_off))
    assert eraser.left() == tombstones
    assert all(eraser.row(tombstone)["fenced_until_ms"] > now_ms() for tombstone in tombstones)
    eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0, fenced_until_ms = 1")
    assert eraser.erase() == Cleared(missing=3) and not eraser.left()


def test_a_push_waits_for_the_request_that_may_reach_its_digest(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob, "PATIENCE_S", 20)
    tombstone = eraser.tombstone("dead")
    pushed: list[Any] = []
    thread = threading.Thread(target=lambda: pushed.append(push(eraser.world, tombstone.digest)))

    def meet(path: str) -> Erased | None:
        thread.start()
        thread.join(0.5)
        assert not pushed
        return None

    assert eraser.run(Wrapped(eraser.store, meet)).objects == 1
    thread.join(PATIENCE_S)
    assert not pushed[0].known and not eraser.left()
    assert eraser.store.size(tombstone.path) is None


def test_case_63_no_row_is_locked_while_a_request_is_sent(eraser: EraserFixture) -> None:
    tombstone = eraser.tombstone("dead")
    free: list[list[tuple[int]]] = []

    def look(path: str) -> Erased | None:
        free.append(eraser.world.rows("SELECT id FROM dredge_tombstone FOR UPDATE SKIP LOCKED"))
        return None

    eraser.run(Wrapped(eraser.store, look))
    assert free == [[(int(tombstone),)]] and not eraser.left()


def test_case_63_a_push_beside_a_frozen_eraser_waits_a_bounded_time(eraser: EraserFixture) -> None:
    tombstone = eraser.tombstone("dead")
    busy: list[DigestBusy] = []

    def frozen(path: str) -> Erased | None:
        with pytest.raises(DigestBusy) as caught:
            push(eraser.world, tombstone.digest)
        busy.append(caught.value)
        return None

    eraser.run(Wrapped(eraser.store, frozen))
    (refused,) = busy
    assert int(str(refused.facts["until_ms"])) <= now_ms() + module.WINDOW_MS
