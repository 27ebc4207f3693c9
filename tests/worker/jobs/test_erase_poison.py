"""An object that its eraser dies of, or that makes every request fail: alone in the end, the others go."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.db.clock import now_ms
from model.gc.failing import NO_END
from model.gc.inspect.troubles import read_troubles
from model.gc.poison import retry
from tests.support.eraser import EraserFixture
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import LOCATION, make_context
from worker.jobs.erase import erase
from worker.jobs.erase_outcome import Cleared
from worker.settings import Settings
from worker.storage.base import Erased, StoreUnavailable
from worker.storage.local import LocalStore

WAIT_MS = 30_000


class Touchy:
    """A store whose driver does `fail` for a whole request that names one path."""

    late_delete_ms = 0

    def __init__(self, store: LocalStore, path: str, error: Exception | None = None) -> None:
        self._store, self._path, self._error = store, path, error
        self.requests: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> list[Erased]:
        self.requests.append(len(paths))
        if self._path in paths:
            if self._error is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                raise self._error
        return self._store.erase(paths, until_s=until_s)


def wait(eraser: EraserFixture) -> None:
    """Let half a minute pass: fences and leases end, long waits do not."""
    eraser.world.execute(
        f"UPDATE dredge_tombstone SET due_ms = due_ms - {WAIT_MS},"
        f" fenced_until_ms = fenced_until_ms - {WAIT_MS}"
    )


def run_and_die(eraser: EraserFixture, path: str) -> None:
    """Run an eraser in a process of its own, which the path kills."""
    eraser.run_and_die(Touchy(eraser.store, path), erase_batch=8)
    wait(eraser)


def test_case_67_an_object_that_kills_its_eraser_is_tried_alone_and_stops_no_other(
    eraser: EraserFixture,
) -> None:
    dead = eraser.tombstones(20)
    deadly = dead[5]
    run_and_die(eraser, deadly.path)
    assert eraser.left() == dead and not read_troubles(limit=5), "nobody knows which of the eight it was"
    run_and_die(eraser, deadly.path)
    assert deadly in eraser.left() and dead[4] not in eraser.left(), "one after the other"
    run_and_die(eraser, deadly.path)
    assert eraser.left() == [deadly] and eraser.paths() == {deadly.path}
    (trouble,) = read_troubles(limit=5)
    assert (trouble.stage, trouble.tries, trouble.reason) == ("erase", 2, NO_END)
    for _ in range(3):
        eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0, fenced_until_ms = 1")
        run_and_die(eraser, deadly.path)
    assert eraser.row(deadly)["due_ms"] > now_ms() + WAIT_MS, "twice as long after each failure"
    assert eraser.erase() == Cleared()
    assert retry("erase") == 1
    assert eraser.erase() == Cleared(objects=1, bytes=10) and not eraser.left() and not eraser.paths()


def test_case_67_an_object_that_makes_whole_requests_fail_is_found_and_the_others_go(
    eraser: EraserFixture,
) -> None:
    dead = eraser.tombstones(20)
    store = Touchy(eraser.store, dead[7].path, ValueError("no such key encoding"))
    assert eraser.erase(store, erase_batch=16) == Cleared(objects=4, bytes=40, failed=16)
    assert eraser.left() == dead[:16]
    assert all(eraser.row(each)["fenced_until_ms"] > now_ms() for each in dead[:16]), "it may have been sent"
    wait(eraser)
    assert eraser.erase(store, erase_batch=16) == Cleared(objects=14, bytes=140, failed=2)
    wait(eraser)
    assert eraser.erase(store, erase_batch=16) == Cleared(objects=1, bytes=10, failed=1)
    assert store.requests == [16, 4, *8 * [2], 1, 1]
    assert eraser.left() == [dead[7]]
    (trouble,) = read_troubles(limit=5)
    assert (trouble.stage, trouble.tries, trouble.reason) == ("erase", 3, "ValueError: no such key encoding")
    eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0, fenced_until_ms = 1")
    assert eraser.erase() == Cleared(objects=1, bytes=10) and not eraser.left()


def test_a_store_whose_driver_gives_up_stops_no_other_location(eraser: EraserFixture, tmp_path: Path) -> None:
    dead = eraser.tombstones(3)
    eraser.tombstone("elsewhere", location="other")
    other = LocalStore(tmp_path / "other", fsync=False)
    store = Touchy(eraser.store, dead[0].path, StoreUnavailable("no route to host"))
    given = Settings(quarantine_s=0)
    with eraser.world.unchanged():
        cleared = erase(make_context({LOCATION: store, "other": other}, settings=given), budget_s=PATIENCE_S)
    assert cleared == Cleared(failed=3, missing=1)
    assert eraser.left() == dead
    wait(eraser)
    store = Touchy(eraser.store, "")
    assert eraser.erase(store) == Cleared(objects=3, bytes=30) and not eraser.left()
    assert store.requests == [3], "an outage is no object's fault: nothing is divided"
