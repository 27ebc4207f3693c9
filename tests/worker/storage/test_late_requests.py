"""Requests that land late: after their object was put back, and after their order was taken back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest

from model.blob import begin_push, finish_push
from model.db.clock import now_ms
from model.policy import DEFAULT
from model.storage_paths import object_path, trash_path
from tests.support.eraser import CONTENT, EraserFixture
from tests.support.pipeline import LOCATION
from tests.support.world import Row, World
from worker.jobs.erase_outcome import Cleared
from worker.storage.base import Erased, SetAside, Store, Trash
from worker.storage.open import open_store

DAY_S = 86_400
OVER = "UPDATE dredge_tombstone SET due_ms = 0, fenced_until_ms = 1"
LOOK = "UPDATE dredge_quarantine SET look_ms = 0"


class Late:
    """A store that does not answer the first request to set objects aside, which lands when told to."""

    def __init__(self, store: Store) -> None:
        self._store, self._moves, self.silent = store, [("", "")], True
        self.late_delete_ms = 1_000

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def set_aside(self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf) -> list[SetAside]:
        if not self.silent:
            return self._store.set_aside(moves, until_s=until_s)
        self.silent, self._moves = False, list(moves)
        return [SetAside(path, None, error="no answer", unknown=True) for path, _ in moves]

    def land(self) -> None:
        """A file system renames.  A bucket has its copy since long: the delete is what comes late."""
        for path, trash in self._moves:
            if self._store.quarantine_is_cheap or self._store.size(trash) is None:
                self._store.set_aside([(path, trash)])
            else:
                self._store.erase([path])


@pytest.fixture(params=["local", "s3", "versioned"])
def eraser(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> EraserFixture:
    if request.param == "local":
        return EraserFixture(world, tmp_path / "objects")
    url = request.getfixturevalue("bucket_url")
    if request.param == "versioned":
        client = boto3.client(
            "s3", endpoint_url=request.getfixturevalue("s3_endpoint"), region_name="us-east-1"
        )
        client.put_bucket_versioning(Bucket=url.split("/")[2], VersioningConfiguration={"Status": "Enabled"})
    return EraserFixture(world, tmp_path, store=open_store(url))


def look_again(eraser: EraserFixture, store: Any) -> Cleared:
    eraser.world.execute(LOOK)
    return eraser.run(store, quarantine_s=DAY_S)


def end_of_quarantine(eraser: EraserFixture, store: Any) -> None:
    """The row and what the trash holds go; what is live stays, and nothing was counted as freed."""
    eraser.world.execute("UPDATE dredge_quarantine SET look_ms = 0, purge_ms = 1")
    assert eraser.run(store, quarantine_s=DAY_S).objects == 0
    assert not eraser.world.rows("SELECT id FROM dredge_quarantine")
    assert not [seen.path for seen in eraser.store.list("dredge-trash")]
    assert not eraser.world.rows("SELECT id FROM dredge_event")


def is_live(eraser: EraserFixture, dead: Row) -> bool:
    return b"".join(eraser.store.read(dead.path)) == CONTENT if dead.path in eraser.paths() else False


def test_an_order_that_was_taken_back_may_be_carried_out_late_and_is_undone(eraser: EraserFixture) -> None:
    """The request was sent and not answered; a push took its order back, found the object, and committed."""
    dead, store = eraser.tombstone("dead"), Late(eraser.store)
    assert eraser.run(store, quarantine_s=DAY_S).failed == 1
    eraser.world.execute(OVER)
    push = begin_push(
        eraser.world.repository_id, dead.digest, 10, location=LOCATION, policy=DEFAULT, now_ms=now_ms()
    )
    assert is_live(eraser, dead), "so the push writes nothing"
    finish_push(push, 10, policy=DEFAULT, now_ms=now_ms())
    eraser.run(store, quarantine_s=DAY_S)
    assert not eraser.left() and eraser.world.rows("SELECT id, unanswered FROM dredge_quarantine") == [
        (dead, True)
    ]
    store.land()
    assert not is_live(eraser, dead)
    assert look_again(eraser, store).put_back == 1 and is_live(eraser, dead)
    end_of_quarantine(eraser, store)
    assert is_live(eraser, dead)


def test_an_object_that_was_put_back_may_be_moved_again_and_goes_back_again(eraser: EraserFixture) -> None:
    """The first request was not answered, the second one was; then the digest is referred to again."""
    dead, store = eraser.tombstone("dead"), Late(eraser.store)
    eraser.run(store, quarantine_s=DAY_S)
    eraser.world.execute(OVER)
    assert eraser.run(store, quarantine_s=DAY_S) == Cleared(set_aside=1) and not is_live(eraser, dead)
    eraser.world.blob(digest=dead.digest)
    assert eraser.run(store, quarantine_s=DAY_S).put_back == 1 and is_live(eraser, dead)
    store.land()
    assert not is_live(eraser, dead)
    assert look_again(eraser, store).put_back == 1 and is_live(eraser, dead)
    assert look_again(eraser, store) == Cleared(), "nothing late has come since"
    end_of_quarantine(eraser, store)
    assert is_live(eraser, dead)


def test_what_is_put_back_is_purged_from_the_trash_by_a_later_step(eraser: EraserFixture) -> None:
    """Every request was answered: the row goes at once, but never in the step that put the object back."""
    dead = eraser.tombstone("dead")
    purged: list[bool] = []
    store = Late(eraser.store)
    store.silent = False
    real = eraser.store.purge

    def purge(trash: Sequence[Trash]) -> list[Erased]:
        purged.append(is_live(eraser, dead))
        return real(trash)

    store.purge = purge  # type: ignore[attr-defined]
    eraser.run(store, quarantine_s=DAY_S)
    eraser.world.blob(digest=dead.digest)
    assert eraser.run(store, quarantine_s=DAY_S) == Cleared(put_back=1)
    assert purged == [True] and is_live(eraser, dead)
    assert not eraser.world.rows("SELECT id FROM dredge_quarantine")


def test_an_object_found_away_at_the_end_of_its_quarantine_goes_back_first(eraser: EraserFixture) -> None:
    dead, store = eraser.tombstone("dead"), Late(eraser.store)
    eraser.run(store, quarantine_s=DAY_S)
    eraser.world.execute(OVER)
    eraser.world.blob(digest=dead.digest)
    eraser.run(store, quarantine_s=DAY_S)
    store.land()
    end_of_quarantine(eraser, store)
    assert is_live(eraser, dead)


def test_an_unanswered_request_whose_object_stays_dead_is_freed_once(eraser: EraserFixture) -> None:
    dead, store = eraser.tombstone("dead"), Late(eraser.store)
    eraser.run(store, quarantine_s=DAY_S)
    store.land()
    eraser.world.execute(OVER)
    assert eraser.run(store, quarantine_s=DAY_S) == Cleared(set_aside=1)
    eraser.world.execute("UPDATE dredge_quarantine SET look_ms = 0, purge_ms = 1")
    assert eraser.run(store, quarantine_s=DAY_S) == Cleared(objects=1, bytes=10)
    assert eraser.world.value("SELECT sum(bytes) FROM dredge_collection") == 10
    assert not is_live(eraser, dead)
    assert eraser.store.size(trash_path(dead, dead.path)) is None
    assert eraser.store.size(object_path(eraser.bystander, True, "")) == len(CONTENT)
