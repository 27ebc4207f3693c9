"""An object of the trash that its process dies of, or that makes every request fail: alone in the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from model.db import connection as database
from model.db.clock import now_ms
from model.gc.failing import NO_END
from model.gc.inspect.troubles import read_troubles
from model.gc.poison import list_poison, retry
from model.gc.storage_identity import find_suspended
from model.storage_paths import object_path, trash_path
from tests.support.eraser import EraserFixture
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import LOCATION, make_context
from tests.support.world import Row
from worker.jobs import quarantine, sweep_trash
from worker.jobs.erase import erase
from worker.jobs.erase_outcome import Cleared
from worker.jobs.sweep import sweep
from worker.settings import Settings
from worker.storage.base import Erased, StoreUnavailable, Trash
from worker.storage.local import LocalStore

DAY_S = 86_400
WAIT_MS = 100_000


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Touchy:
    """A store whose driver does `fail` for a purge or a put-back that names one path."""

    late_delete_ms = 0

    def __init__(self, store: LocalStore, path: str, fail: Callable[[], None]) -> None:
        self._store, self._path, self._fail = store, path, fail
        self.requests: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def purge(self, trash: Sequence[Trash]) -> list[Erased]:
        self.requests.append(len(trash))
        if self._path in {each.path for each in trash}:
            self._fail()
        return self._store.purge(trash)

    def put_back(self, path: str, trash: str, version: str = "") -> bool:
        if path == self._path:
            self._fail()
        return self._store.put_back(path, trash, version)


def fail_with(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.fixture
def eraser(eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch) -> EraserFixture:
    monkeypatch.setattr(quarantine, "BATCH", 16)
    return eraser


def in_trash(eraser: EraserFixture, count: int) -> list[Row]:
    dead = eraser.tombstones(count)
    assert eraser.erase(quarantine_s=DAY_S) == Cleared(set_aside=count)
    return dead


def end_quarantine(eraser: EraserFixture) -> None:
    eraser.world.execute("UPDATE dredge_quarantine SET look_ms = 0, purge_ms = 1")


def wait(eraser: EraserFixture) -> None:
    """Let leases end; long waits do not."""
    eraser.world.execute(f"UPDATE dredge_quarantine SET look_ms = look_ms - {WAIT_MS}")


def left(eraser: EraserFixture) -> list[int]:
    return [id for (id,) in eraser.world.rows("SELECT id FROM dredge_quarantine ORDER BY id")]


def run_and_die(eraser: EraserFixture, path: str) -> None:
    """Run an eraser in a process of its own, which the path kills."""
    eraser.run_and_die(Touchy(eraser.store, path, die), quarantine_s=DAY_S)
    wait(eraser)


def test_case_67_an_object_whose_purge_kills_is_tried_alone_and_stops_no_other(
    eraser: EraserFixture,
) -> None:
    dead = in_trash(eraser, 20)
    deadly = dead[5]
    end_quarantine(eraser)
    run_and_die(eraser, deadly.path)
    assert left(eraser) == dead, "nobody knows which of the sixteen it was"
    run_and_die(eraser, deadly.path)
    assert len(left(eraser)) < 20 and deadly in left(eraser), "two at a time"
    for _ in range(2):
        run_and_die(eraser, deadly.path)
    assert left(eraser) == [deadly]
    (trouble,) = read_troubles(limit=5)
    assert (trouble.stage, trouble.reason) == ("quarantine", NO_END)
    for _ in range(4):
        eraser.world.execute("UPDATE dredge_quarantine SET look_ms = 0")
        run_and_die(eraser, deadly.path)
    assert trouble.tries < read_troubles(limit=5)[0].tries
    assert eraser.world.value("SELECT look_ms FROM dredge_quarantine") > now_ms(), "it backs off"
    assert eraser.erase(quarantine_s=DAY_S) == Cleared()
    retry("quarantine")
    wait(eraser)
    assert eraser.erase(quarantine_s=DAY_S) == Cleared(objects=1, bytes=10) and not left(eraser)


def test_case_67_an_object_whose_return_kills_stops_no_other_return(eraser: EraserFixture) -> None:
    dead = in_trash(eraser, 20)
    deadly = dead[3]
    for each in dead:
        eraser.world.blob(digest=each.digest)
    for _ in range(4):
        run_and_die(eraser, deadly.path)
    assert left(eraser) == [deadly]
    assert eraser.paths() == {each.path for each in dead} - {deadly.path}
    eraser.world.execute("UPDATE dredge_quarantine SET look_ms = 0")
    assert eraser.erase(quarantine_s=DAY_S) == Cleared(put_back=1)
    assert eraser.paths() == {each.path for each in dead} and not left(eraser)


def test_case_67_an_object_that_makes_whole_purges_fail_is_found_and_the_others_go(
    eraser: EraserFixture,
) -> None:
    dead = in_trash(eraser, 20)
    store = Touchy(eraser.store, dead[7].path, fail_with(ValueError("no such key encoding")))
    end_quarantine(eraser)
    assert eraser.erase(store, quarantine_s=DAY_S) == Cleared(objects=4, bytes=40, failed=16)
    wait(eraser)
    assert eraser.erase(store, quarantine_s=DAY_S) == Cleared(objects=14, bytes=140, failed=2)
    wait(eraser)
    assert eraser.erase(store, quarantine_s=DAY_S) == Cleared(objects=1, bytes=10, failed=1)
    assert store.requests == [16, 4, *8 * [2], 1, 1]
    assert left(eraser) == [dead[7]]
    (trouble,) = read_troubles(limit=5)
    assert (trouble.stage, trouble.tries) == ("quarantine", 3)
    assert trouble.reason == "ValueError: no such key encoding"
    retry("quarantine")
    assert eraser.erase(quarantine_s=DAY_S) == Cleared(objects=1, bytes=10) and not left(eraser)


def test_an_outage_at_a_purge_is_no_objects_fault_and_nothing_is_divided(eraser: EraserFixture) -> None:
    dead = in_trash(eraser, 5)
    store = Touchy(eraser.store, dead[0].path, fail_with(StoreUnavailable("no route to host")))
    end_quarantine(eraser)
    assert eraser.erase(store, quarantine_s=DAY_S) == Cleared(failed=5)
    wait(eraser)
    store = Touchy(eraser.store, "", die)
    assert eraser.erase(store, quarantine_s=DAY_S) == Cleared(objects=5, bytes=50)
    assert store.requests == [5] and not left(eraser)


class Broken(Touchy):
    """A store whose driver raises something, as soon as it is `broken`."""

    broken = False

    @property
    def address(self) -> str:
        if self.broken:
            raise RuntimeError("unexpected answer")
        return self._store.address


def test_a_location_whose_driver_raises_anything_is_suspended_and_stops_no_other(
    eraser: EraserFixture, tmp_path: Path
) -> None:
    there, dead = in_trash(eraser, 1), eraser.tombstones(3)
    end_quarantine(eraser)
    other = eraser.tombstone("elsewhere", location="a first location")
    broken = Broken(LocalStore(tmp_path / "broken", fsync=False), "", die)
    given = Settings(quarantine_s=0)
    tools = make_context({"a first location": broken, LOCATION: eraser.store}, settings=given)
    broken.broken = True
    with eraser.world.unchanged():
        assert erase(tools, budget_s=PATIENCE_S) == Cleared(objects=4, bytes=40), (there, dead)
        assert [each.error for each in sweep(tools, budget_s=PATIENCE_S)][-2:] == [
            "RuntimeError: unexpected answer",
            None,
        ]
    assert eraser.left() == [other]
    (suspended,) = find_suspended()
    assert (suspended.location, suspended.problem) == ("a first location", "RuntimeError: unexpected answer")


def test_a_stray_object_that_makes_whole_purges_fail_is_set_aside_and_the_others_go(
    eraser: EraserFixture,
) -> None:
    for n in range(3):
        eraser.store.write(trash_path(70 + n, f"sha256/aa/{n}"), [b"x"])
    store = Touchy(eraser.store, "sha256/aa/1", fail_with(ValueError("odd")))
    tools = make_context({LOCATION: store}, settings=Settings(sweep_delay_s=0))
    for _ in range(3):
        sweep(tools, budget_s=PATIENCE_S)
    assert [seen.path for seen in eraser.store.list("dredge-trash")] == [trash_path(71, "sha256/aa/1")]
    (poisoned,) = list_poison(limit=5)
    assert (poisoned.stage, poisoned.tries) == ("sweep", 1)
    retry("sweep")
    tools = make_context({LOCATION: eraser.store}, settings=Settings(sweep_delay_s=0))
    sweep(tools, budget_s=PATIENCE_S)
    assert not list(eraser.store.list("dredge-trash")) and not list_poison(limit=5)


def sweep_and_die(eraser: EraserFixture, path: str, *, marked: bool = False) -> None:
    """Run a pass that marks, and one in a process of its own, which the path kills."""
    if not marked:
        run_sweep(eraser.store)
    pid = os.fork()
    if not pid:
        try:
            database.disown()
            database.configure(eraser.world.url)
            run_sweep(Touchy(eraser.store, path, die))
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def run_sweep(store: Any) -> None:
    sweep(make_context({LOCATION: store}, settings=Settings(sweep_delay_s=0)), budget_s=PATIENCE_S)


def strays(eraser: EraserFixture) -> list[str]:
    return sorted(seen.path for seen in eraser.store.list("dredge-trash"))


def test_case_67_a_stray_object_whose_purge_kills_is_tried_alone_and_stops_no_other(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_trash, "BATCH", 16)
    names = [trash_path(70 + n, f"sha256/aa/{n}") for n in range(20)]
    for name in names:
        eraser.store.write(name, [b"x"])
    sweep_and_die(eraser, "sha256/aa/9")
    assert strays(eraser) == names and not list_poison(limit=5), "nobody knows which of the sixteen it was"
    sweep_and_die(eraser, "sha256/aa/9")
    assert strays(eraser) == names[8:], "two at a time"
    sweep_and_die(eraser, "sha256/aa/9")
    assert strays(eraser) == names[9:], "one at a time"
    (poisoned,) = list_poison(limit=5)
    assert (poisoned.stage, poisoned.key) == ("sweep", f"{LOCATION}:{names[9]}")
    assert poisoned.last_error == NO_END
    for _ in range(2):
        run_sweep(Touchy(eraser.store, "sha256/aa/9", die))
    assert strays(eraser) == [names[9]] and list_poison(limit=5) == [poisoned], "not before its time"
    assert eraser.world.value("SELECT count(*) FROM dredge_poison") == 1, "later batches are whole again"
    retry("sweep")
    for _ in range(2):
        run_sweep(eraser.store)
    assert not strays(eraser) and not list_poison(limit=5)


def test_case_67_a_stray_object_whose_return_kills_stops_no_other(eraser: EraserFixture) -> None:
    blobs = [eraser.world.blob() for _ in range(3)]
    paths = [object_path(blob.digest, True, "") for blob in blobs]
    names = [trash_path(70 + n, path) for n, path in enumerate(paths)]
    for name in (*names, trash_path(90, "sha256/aa/unused")):
        eraser.store.write(name, [b"x"])
    sweep_and_die(eraser, paths[0], marked=True)
    assert eraser.paths().isdisjoint(paths)
    assert [(each.stage, each.tries) for each in list_poison(limit=5)] == [("sweep", 1)]
    store = Touchy(eraser.store, paths[0], die)
    for _ in range(2):
        run_sweep(store)
    assert strays(eraser) == names[:1] and set(paths[1:]) <= eraser.paths()
    retry("sweep")
    run_sweep(eraser.store)
    assert not strays(eraser) and set(paths) <= eraser.paths() and not list_poison(limit=5)
