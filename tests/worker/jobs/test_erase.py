"""The eraser: objects go, tombstones are settled or postponed, and nothing that is needed is touched."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from model.blob import begin_push, object_path
from model.db.clock import now_ms
from model.errors import DatabaseUnavailable, DigestBusy
from model.policy import DEFAULT
from tests.support.pipeline import LOCATION, make_toolbox
from tests.support.world import Row, World, digest_of
from worker.jobs import erase as module
from worker.jobs.erase import Cleared, erase
from worker.settings import Settings
from worker.storage.base import Erased
from worker.storage.local import LocalStore

CONTENT = b"0123456789"


class Yard:
    """A store of files with tombstones for some of its objects."""

    def __init__(self, world: World, root: Path) -> None:
        self.world, self.store = world, LocalStore(root, fsync=False)
        self.bystander = self.object("bystander")
        world.tag("bystander", manifest=world.manifest(blobs=[world.blob(digest=self.bystander)]))

    def object(self, name: str) -> str:
        """Write an object; its digest."""
        digest = digest_of(name)
        self.store.write(object_path(digest, True, ""), [CONTENT])
        return digest

    def stone(self, name: str, *, written: bool = True, location: str = LOCATION, due_ms: int = 1) -> Row:
        """A tombstone, by default with its object."""
        digest = self.object(name) if written else digest_of(name)
        path = object_path(digest, True, "")
        id = self.world.insert(
            "dredge_tombstone",
            digest=digest,
            path=path,
            location=location,
            size=len(CONTENT),
            created_ms=1,
            due_ms=due_ms,
        )
        return Row(id, digest=digest, path=path)

    def stones(self, count: int) -> list[Row]:
        return [self.stone(f"dead {n}") for n in range(count)]

    def paths(self) -> set[str]:
        return {seen.path for seen in self.store.list()} - {object_path(self.bystander, True, "")}

    def left(self) -> list[int]:
        return [id for (id,) in self.world.rows("SELECT id FROM dredge_tombstone ORDER BY id")]

    def row(self, stone: Row) -> dict[str, Any]:
        return dict(self.world.snapshot()["dredge_tombstone"][int(stone)])

    def erase(self, store: Any = None, budget_s: float = 60.0, **settings: Any) -> Cleared:
        """Run the eraser, which never touches the registry's tables nor the bystander's object."""
        with self.world.unchanged():
            cleared = self.run(store, budget_s, **settings)
        assert self.store.size(object_path(self.bystander, True, "")) == len(CONTENT)
        return cleared

    def run(self, store: Any = None, budget_s: float = 60.0, **settings: Any) -> Cleared:
        toolbox = make_toolbox({LOCATION: store or self.store}, settings=Settings(**settings))
        return erase(toolbox, budget_s=budget_s)


@pytest.fixture
def yard(world: World, tmp_path: Path) -> Yard:
    return Yard(world, tmp_path / "objects")


class Wrapped:
    """The store, but for what `answer` says about a path."""

    def __init__(
        self, store: LocalStore, answer: Callable[[str], Erased | None], *, lingers_ms: int = 0
    ) -> None:
        self._store, self._answer, self.lingers_ms = store, answer, lingers_ms

    def erase(self, paths: Sequence[str]) -> list[Erased]:
        return [self._answer(path) or self._store.erase([path])[0] for path in paths]


def test_objects_go_with_their_tombstones_and_are_told(yard: Yard) -> None:
    stones = yard.stones(3)
    cleared = yard.erase()
    assert cleared == Cleared(objects=3, bytes=30) and not yard.paths() and not yard.left()
    ((data,),) = yard.world.rows("SELECT data FROM dredge_event WHERE type = 'registry.blob.erased'")
    items = {item["digest"]: (item["location"], item["bytes"]) for item in json.loads(data)["items"]}
    assert items == {stone.digest: (LOCATION, 10) for stone in stones}
    assert yard.world.rows("SELECT stage, objects, bytes FROM dredge_collection") == [("erase", 3, 30)]


def test_without_tombstones_nothing_happens(yard: Yard) -> None:
    yard.object("unknown to us")
    with yard.world.changes() as changes:
        assert yard.erase() == Cleared()
    assert not changes and len(yard.paths()) == 1


def test_case_45_no_bytes_are_claimed_for_an_object_that_was_not_there(yard: Yard) -> None:
    yard.stone("gone", written=False)
    yard.stone("there")
    assert yard.erase() == Cleared(objects=1, bytes=10, missing=1)
    assert not yard.left()
    assert yard.world.value("SELECT sum(bytes) FROM dredge_collection") == 10


def test_a_tombstone_that_is_not_due_waits(yard: Yard) -> None:
    yard.stone("later", due_ms=yard.world.now_ms + 60_000)
    assert yard.erase() == Cleared() and len(yard.paths()) == len(yard.left()) == 1


def test_case_36_nine_of_ten_go_and_one_is_tried_again_later(yard: Yard) -> None:
    stones = yard.stones(10)
    stuck = stones[4]

    def answer(path: str) -> Erased | None:
        return Erased(path, None, "permission denied") if path == stuck.path else None

    cleared = yard.erase(Wrapped(yard.store, answer))
    assert (cleared.objects, cleared.failed) == (9, 1)
    assert yard.left() == [stuck] and yard.paths() == {stuck.path}
    row = yard.row(stuck)
    assert (row["tries"], row["last_error"], row["fenced_until_ms"]) == (1, "permission denied", None)
    assert 3_000 < row["due_ms"] - now_ms() <= 5_000
    assert yard.erase() == Cleared()
    yard.world.execute("UPDATE dredge_tombstone SET due_ms = 0")
    assert yard.erase().objects == 1 and not yard.left()


def test_retries_are_twice_as_far_apart_each_time_up_to_six_hours(yard: Yard) -> None:
    stone = yard.stone("stuck")
    broken = Wrapped(yard.store, lambda path: Erased(path, None, "no"))
    waits = []
    for _ in range(15):
        yard.erase(broken)
        waits.append(round((yard.row(stone)["due_ms"] - now_ms()) / 5000))
        yard.world.execute("UPDATE dredge_tombstone SET due_ms = 0")
    assert waits[:5] == [1, 2, 4, 8, 16] and waits[-1] == 6 * 3600 / 5


def test_case_8_an_unknown_outcome_fences_the_digest_against_pushes(yard: Yard) -> None:
    stone = yard.stone("slow")
    timeout = Wrapped(
        yard.store, lambda path: Erased(path, None, "timed out", unknown=True), lingers_ms=60_000
    )
    assert yard.erase(timeout).failed == 1
    row = yard.row(stone)
    assert row["fenced_until_ms"] - now_ms() > 55_000 and row["last_error"] == "timed out"
    with yard.world.changes() as changes, pytest.raises(DigestBusy):
        push(yard.world, stone.digest)
    assert not changes
    assert push(yard.world, stone.digest, at_ms=row["fenced_until_ms"]) and not yard.left()


def test_a_store_that_lingers_is_fenced_before_the_delete_is_sent(yard: Yard) -> None:
    stone = yard.stone("dead")
    seen: list[Any] = []

    def crash(path: str) -> Erased | None:
        seen.append(yard.row(stone)["fenced_until_ms"])  # by another connection: committed
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        yard.erase(Wrapped(yard.store, crash, lingers_ms=30_000))
    assert seen[0] > now_ms() and yard.left() == [stone]
    with pytest.raises(DigestBusy):
        push(yard.world, stone.digest)
    cleared = yard.erase(Wrapped(yard.store, lambda path: None, lingers_ms=30_000))
    assert cleared == Cleared(objects=1, bytes=10) and not yard.left()


def push(world: World, digest: str, at_ms: int | None = None) -> Any:
    moment = now_ms() if at_ms is None else at_ms
    return begin_push(world.repository_id, digest, 10, location=LOCATION, policy=DEFAULT, now_ms=moment)


def test_case_1_an_object_that_a_row_needs_again_stays(yard: Yard) -> None:
    again, fresh, dead = yard.stone("again"), yard.stone("fresh"), yard.stone("dead")
    yard.world.blob(digest=again.digest)
    yard.world.blob(digest=fresh.digest, placement=None)
    assert yard.erase() == Cleared(objects=1, bytes=10, dropped=2)
    assert yard.paths() == {again.path, fresh.path} and not yard.left() and dead


def test_case_47_a_row_that_is_placed_elsewhere_does_not_keep_this_object(yard: Yard) -> None:
    elsewhere, legacy = yard.stone("elsewhere"), yard.stone("legacy")
    yard.world.blob(digest=elsewhere.digest, placement="eu")
    yard.world.blob(digest=legacy.digest, cas_path=False)
    assert yard.erase() == Cleared(objects=2, bytes=20) and not yard.paths()


def test_a_location_that_is_not_configured_keeps_its_tombstones_and_blocks_nobody(yard: Yard) -> None:
    lost, fine = yard.stone("lost", location="mars"), yard.stone("fine")
    assert yard.erase() == Cleared(objects=1, bytes=10, failed=1)
    assert yard.left() == [lost] and "mars is not configured" in yard.row(lost)["last_error"]
    assert fine.path not in yard.paths()


def test_case_46_a_storage_directory_that_went_away_is_not_an_empty_one(yard: Yard) -> None:
    stone = yard.stone("dead")
    away = LocalStore(yard.store.root.parent / "unmounted", fsync=False)
    shutil.rmtree(away.root)
    assert yard.erase(away).failed == 1
    assert yard.left() == [stone] and "missing" in yard.row(stone)["last_error"]


def test_a_turn_gives_way_when_its_budget_is_used_up(yard: Yard) -> None:
    yard.stones(5)
    assert yard.erase(budget_s=0, erase_batch=2) == Cleared(objects=2, bytes=20, has_more=True)
    assert yard.erase(erase_batch=2) == Cleared(objects=3, bytes=30)


def test_the_rate_is_kept(yard: Yard) -> None:
    yard.stones(6)
    started = time.monotonic()
    yard.erase(erase_rate=20, erase_batch=3)
    assert time.monotonic() - started >= 0.3


def test_two_erasers_at_once_take_different_tombstones(yard: Yard) -> None:
    stones = yard.stones(6)
    entered, go_on = threading.Event(), threading.Event()
    first: list[str] = []

    def wait(path: str) -> Erased | None:
        first.append(path)
        entered.set()
        assert go_on.wait(20)
        return None

    store = Wrapped(yard.store, wait)
    slow = threading.Thread(target=yard.run, args=(store, 0), kwargs={"erase_batch": 3})
    slow.start()
    try:
        assert entered.wait(20)
        assert yard.erase() == Cleared(objects=3, bytes=30)
        assert yard.paths() == {stone.path for stone in stones[:3]}
    finally:
        go_on.set()
        slow.join()
    assert sorted(first) == sorted(stone.path for stone in stones[:3])
    assert not yard.left() and not yard.paths()
    assert yard.world.value("SELECT sum(objects) FROM dredge_collection") == 6


def test_case_38_an_eraser_that_lost_its_locks_sends_no_further_delete(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    stones = yard.stones(3)
    monkeypatch.setattr(module, "CHUNK", 1)

    def cut_off(path: str) -> Erased | None:
        yard.world.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return None

    with pytest.raises(DatabaseUnavailable):
        yard.erase(Wrapped(yard.store, cut_off))
    assert len(yard.paths()) == 2 and yard.left() == stones
    assert yard.erase() == Cleared(objects=2, bytes=20, missing=1)


def test_a_push_waits_for_the_eraser_that_holds_its_digest(yard: Yard) -> None:
    stone = yard.stone("dead")
    pushed: list[Any] = []
    thread = threading.Thread(target=lambda: pushed.append(push(yard.world, stone.digest)))

    def meet(path: str) -> Erased | None:
        thread.start()
        thread.join(0.5)
        assert not pushed
        return None

    assert yard.run(Wrapped(yard.store, meet)).objects == 1
    thread.join(20)
    assert not pushed[0].known and not yard.left()
    assert yard.store.size(stone.path) is None
