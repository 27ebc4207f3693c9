"""How long a request fences its objects: for a few seconds if a late one can be undone, else to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from model import blob
from model.blob import begin_push
from model.db.clock import now_ms
from model.errors import DigestBusy
from model.policy import DEFAULT
from model.storage_paths import trash_path
from tests.support.eraser import EraserFixture, Wrapped
from tests.support.pipeline import LOCATION
from worker.jobs import erase as module
from worker.jobs.erase_outcome import Cleared
from worker.storage.base import NOT_SENT, Erased, SetAside, clock_s
from worker.storage.local import LocalStore

DAY_S = 86_400


class Slow:
    """A store that may carry out a request within a minute, and sets aside as `move` does."""

    late_delete_ms = 60_000

    def __init__(self, store: LocalStore, move: Callable[..., list[SetAside]]) -> None:
        self._store, self._move = store, move

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def set_aside(self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf) -> list[SetAside]:
        return self._move(moves, until_s)


def unanswered(moves: Sequence[tuple[str, str]], _until_s: float) -> list[SetAside]:
    return [SetAside(path, None, error="?", unknown=True) for path, _ in moves]


def test_an_object_that_can_be_put_back_is_fenced_for_a_few_seconds(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store may carry the move out within a minute; the object then comes back from the trash."""
    tombstone = eraser.tombstone("slow")
    silent = Slow(eraser.store, unanswered)
    assert eraser.erase(silent, quarantine_s=DAY_S).failed == 1
    row = eraser.row(tombstone)
    assert 0 < row["fenced_until_ms"] - now_ms() <= module.WINDOW_MS + module.USUAL_MS
    monkeypatch.setattr(blob, "PATIENCE_S", 0)
    assert begin_push(
        eraser.world.repository_id,
        tombstone.digest,
        10,
        location=LOCATION,
        policy=DEFAULT,
        now_ms=row["fenced_until_ms"],
    )
    eraser.store.set_aside([(tombstone.path, trash_path(tombstone, tombstone.path))])
    eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0")
    assert eraser.run(quarantine_s=DAY_S).put_back == 1 and eraser.paths() == {tombstone.path}


def test_an_object_that_may_be_purged_before_the_request_lands_is_fenced_to_its_end(
    eraser: EraserFixture,
) -> None:
    tombstone = eraser.tombstone("slow")
    assert eraser.erase(Slow(eraser.store, unanswered), quarantine_s=60).failed == 1
    assert eraser.row(tombstone)["fenced_until_ms"] - now_ms() > 55_000


def test_case_63_without_quarantine_a_push_is_told_at_once_when_the_fence_ends(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket may carry a delete out within a minute; a push does not wait so long.  On its own clock."""
    tombstone = eraser.tombstone("slow")
    silent = Wrapped(eraser.store, lambda path: Erased(path, None, "?", unknown=True), late_delete_ms=60_000)
    eraser.erase(silent)
    until_ms = eraser.row(tombstone)["fenced_until_ms"]
    assert until_ms > now_ms() + 55_000
    naps: list[float] = [0.0]
    monkeypatch.setattr(blob, "time", SimpleNamespace(monotonic=lambda: sum(naps), sleep=naps.append))
    push = partial(
        begin_push, eraser.world.repository_id, tombstone.digest, 10, location=LOCATION, policy=DEFAULT
    )
    with eraser.world.unchanged(), pytest.raises(DigestBusy) as busy:
        push(now_ms=now_ms())
    assert busy.value.facts["until_ms"] == until_ms and sum(naps) < 2 * blob.PATIENCE_S
    assert push(now_ms=until_ms).known is False


def test_a_move_that_was_answered_after_its_fence_is_looked_at_at_once(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push came between the end of the fence and the answer; its object was moved."""
    tombstone = eraser.tombstone("slow")
    monkeypatch.setattr(module, "USUAL_MS", -module.WINDOW_MS)

    def move(moves: Sequence[tuple[str, str]], _: float) -> list[SetAside]:
        eraser.world.blob(digest=tombstone.digest)
        return eraser.store.set_aside(moves)

    assert eraser.run(Slow(eraser.store, move), quarantine_s=DAY_S) == Cleared(set_aside=1, put_back=1)
    assert eraser.paths() == {tombstone.path}
    assert eraser.world.value("SELECT unanswered FROM dredge_quarantine"), "it is looked at to the end"


@pytest.mark.parametrize("slowest", [2, 0])
def test_a_batch_whose_copies_take_too_long_is_sent_in_parts(eraser: EraserFixture, slowest: int) -> None:
    """A bucket copies first; `slowest` copies are what its client makes in the time of one request."""
    tombstones = eraser.tombstones(20)
    sizes: list[tuple[int, bool]] = []

    def move(moves: Sequence[tuple[str, str]], until_s: float) -> list[SetAside]:
        in_time = len(moves) <= slowest or until_s > clock_s() + 10
        sizes.append((len(moves), in_time))
        if in_time:
            return eraser.store.set_aside(moves)
        return [SetAside(path, None, error=NOT_SENT, sent=False) for path, _ in moves]

    cleared = eraser.erase(Slow(eraser.store, move), quarantine_s=DAY_S, erase_batch=16)
    assert cleared == Cleared(set_aside=len(tombstones)) and not eraser.left()
    parts = [(16, False), (2, True), (4, False)] if slowest else [(16, False), (2, False), (1, False)]
    assert sizes[:3] == parts
