"""Objects in the trash go back where they are needed, and are freed when their time is over."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model.db.connection import fetch_one
from model.gc.storage_identity import find_suspended, record_identity
from model.policy import DEFAULT
from model.storage_paths import trash_path
from tests.support.eraser import EraserFixture, Wrapped
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import LOCATION, make_context
from tests.support.world import World
from worker.jobs import erase as erase_module
from worker.jobs import erase_outcome as outcome_module
from worker.jobs.erase import erase
from worker.jobs.erase_outcome import Cleared
from worker.jobs.quarantine import choose_quarantine_s
from worker.jobs.sweep import sweep
from worker.settings import Settings
from worker.storage.base import Stores

DAY_S = 86_400


@pytest.fixture
def eraser(world: World, tmp_path: Path) -> EraserFixture:
    return EraserFixture(world, tmp_path / "objects")


def trash(eraser: EraserFixture) -> list[str]:
    return [seen.path for seen in eraser.store.list("dredge-trash")]


def test_an_object_is_set_aside_first_and_freed_when_its_time_is_over(eraser: EraserFixture) -> None:
    dead = eraser.tombstone("dead")
    assert eraser.erase(quarantine_s=DAY_S) == Cleared(set_aside=1)
    assert trash(eraser) == [trash_path(dead, dead.path)] and not eraser.paths() and not eraser.left()
    assert not eraser.world.rows("SELECT id FROM dredge_event"), "nothing is freed yet"
    eraser.world.execute("UPDATE dredge_quarantine SET look_ms = 0, purge_ms = 1")
    assert eraser.erase(quarantine_s=DAY_S) == Cleared(objects=1, bytes=10)
    assert not trash(eraser) and not eraser.world.rows("SELECT id FROM dredge_quarantine")
    assert eraser.world.rows("SELECT objects, bytes FROM dredge_collection") == [(1, 10)]


def test_case_58_a_row_that_a_quay_commits_late_gets_its_object_back(eraser: EraserFixture) -> None:
    """Its push saw the object, dropped its own upload, and wrote its row when the object was away."""
    dead = eraser.tombstone("dead")
    eraser.erase(quarantine_s=DAY_S)
    eraser.world.blob(digest=dead.digest)
    assert eraser.erase(quarantine_s=DAY_S) == Cleared(put_back=1)
    assert eraser.paths() == {dead.path} and not trash(eraser)
    assert not eraser.world.rows("SELECT id FROM dredge_quarantine")


def test_case_58_rows_that_a_quay_wrote_switch_the_quarantine_on(eraser: EraserFixture) -> None:
    """On a plain bucket, where it costs requests, it is off while only Dredge's own pushes write."""
    plain, given = Wrapped(eraser.store, lambda path: None), Settings()
    plain.quarantine_is_cheap = False  # type: ignore[attr-defined]
    eraser.world.execute("UPDATE imagestorage SET uploading = false")
    assert choose_quarantine_s(given, plain) == 0
    eraser.world.manifest(blobs=[eraser.world.blob()])
    assert choose_quarantine_s(given, plain) == DAY_S
    assert choose_quarantine_s(replace(given, quarantine_s=0), plain) == 0
    eraser.world.execute("UPDATE imagestorage SET uploading = false")
    assert choose_quarantine_s(replace(given, quay_redis_url="redis://quay"), plain) == DAY_S
    assert choose_quarantine_s(given, eraser.store) == DAY_S, "a rename costs nothing"


def test_case_38_what_a_frozen_eraser_moved_when_it_woke_goes_back(eraser: EraserFixture) -> None:
    """Its tombstone is gone and the digest is in use: it finds so when it settles."""
    dead = eraser.tombstone("dead")
    real = eraser.store.set_aside

    def woken(*arguments: object, **options: object) -> object:
        eraser.world.blob(digest=dead.digest)
        eraser.world.execute("DELETE FROM dredge_tombstone")
        return real(*arguments, **options)  # type: ignore[arg-type]

    eraser.store.set_aside = woken  # type: ignore[method-assign]
    assert eraser.run(quarantine_s=DAY_S) == Cleared(set_aside=1, put_back=1)
    assert eraser.paths() == {dead.path} and not trash(eraser)


@pytest.mark.parametrize("wrong", ["not there", "empty", "another"])
def test_case_62_at_the_wrong_storage_nothing_is_settled_until_the_right_one_is_back(
    eraser: EraserFixture, wrong: str
) -> None:
    dead, root = eraser.tombstone("dead"), eraser.store.root
    tools = make_context({LOCATION: eraser.store}, settings=Settings())
    away = root.rename(root.with_suffix(".away"))
    if wrong != "not there":
        root.mkdir()
    if wrong == "another":
        eraser.store.write_identity(str(uuid.uuid4()))
    assert erase(tools, budget_s=PATIENCE_S) == Cleared()
    assert sweep(tools, budget_s=PATIENCE_S)[-1].error and eraser.left() == [dead]
    (suspended,) = find_suspended()
    assert suspended.location == LOCATION and suspended.problem
    if root.exists():
        shutil.rmtree(root)
    away.rename(root)
    assert erase(tools, budget_s=PATIENCE_S) == Cleared(objects=1, bytes=10)
    assert not find_suspended()


def test_case_62_a_location_without_work_is_suspended_no_longer_when_the_right_store_is_back(
    eraser: EraserFixture,
) -> None:
    root, tools = eraser.store.root, make_context({LOCATION: eraser.store}, settings=Settings())
    away = root.rename(root.with_suffix(".away"))
    assert sweep(tools, budget_s=PATIENCE_S)[-1].error and find_suspended()
    assert erase(tools, budget_s=PATIENCE_S) == Cleared() and find_suspended()
    away.rename(root)
    assert erase(tools, budget_s=PATIENCE_S) == Cleared() and not find_suspended()


def test_case_57_two_names_of_one_store_are_swept_as_one(eraser: EraserFixture) -> None:
    held = eraser.object("held under the other name")
    eraser.world.blob(digest=held, placement="renamed")
    aged = replace(DEFAULT, upload_ttl_ms=0, push_ttl_ms=0)
    tools = make_context({LOCATION: eraser.store}, policy=aged, settings=Settings(sweep_delay_s=0))
    record_identity("renamed", address="", identity=str(eraser.store.read_identity()))
    assert isinstance(tools.stores, Stores)
    for _ in range(3):
        assert sweep(tools, budget_s=PATIENCE_S)[-1].confirmed == 0
    assert not eraser.left() and len(eraser.paths()) == 1


@pytest.mark.parametrize("back", ["before the answer is believed", "later"])
@pytest.mark.parametrize("quarantine_s", [0, DAY_S])
def test_a_disk_that_was_away_for_one_request_settles_nothing(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch, back: str, quarantine_s: int
) -> None:
    """The store showed who it is, then its disk went away, and every object was missing."""
    dead, root = eraser.tombstone("dead"), eraser.store.root
    away = root.with_suffix(".away")
    request = "set_aside" if quarantine_s else "erase"
    real = getattr(eraser.store, request)

    def come_back() -> None:
        shutil.rmtree(root)
        away.rename(root)

    def unmounted(*arguments: object, **options: object) -> object:
        root.rename(away)
        root.mkdir()
        answer = real(*arguments, **options)
        if back == "before the answer is believed":
            come_back()
        return answer

    monkeypatch.setattr(eraser.store, request, unmounted)
    assert eraser.run(quarantine_s=quarantine_s) == Cleared(failed=1)
    monkeypatch.undo()
    if back == "later":
        assert [each.location for each in find_suspended()] == [LOCATION]
        come_back()
    assert eraser.left() == [dead] and eraser.paths() == {dead.path}
    eraser.world.execute("UPDATE dredge_tombstone SET due_ms = 0")
    cleared = eraser.run(quarantine_s=quarantine_s)
    assert (cleared.objects + cleared.set_aside, cleared.failed) == (1, 0) and not find_suspended()


def test_a_disk_that_was_away_while_an_object_was_put_back_forgets_nothing(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, root = eraser.tombstone("dead"), eraser.store.root
    eraser.erase(quarantine_s=DAY_S)
    eraser.world.blob(digest=dead.digest)
    away, real = root.with_suffix(".away"), eraser.store.put_back

    def unmounted(*arguments: str) -> bool:
        root.rename(away)
        root.mkdir()
        return real(*arguments)

    monkeypatch.setattr(eraser.store, "put_back", unmounted)
    assert eraser.run(quarantine_s=DAY_S) == Cleared(failed=1)
    monkeypatch.undo()
    shutil.rmtree(root)
    away.rename(root)
    eraser.world.execute("UPDATE dredge_quarantine SET look_ms = 0")
    assert eraser.run(quarantine_s=DAY_S) == Cleared(put_back=1)
    assert eraser.paths() == {dead.path} and not trash(eraser)


def test_a_referenced_object_that_is_nowhere_stays_in_question_to_the_end_of_its_quarantine(
    eraser: EraserFixture,
) -> None:
    dead = eraser.tombstone("dead")
    eraser.erase(quarantine_s=DAY_S)
    eraser.world.blob(digest=dead.digest)
    (eraser.store.root / trash(eraser)[0]).unlink()
    assert eraser.run(quarantine_s=DAY_S) == Cleared(failed=1)
    ((error,),) = eraser.world.rows("SELECT last_error FROM dredge_quarantine")
    assert "neither in its place nor in the trash" in error
    eraser.world.execute("UPDATE dredge_quarantine SET look_ms = 0, purge_ms = 1")
    assert eraser.run(quarantine_s=DAY_S) == Cleared()
    assert not eraser.world.rows("SELECT id FROM dredge_quarantine")


def test_an_eraser_that_is_frozen_in_a_transaction_loses_it_after_three_seconds(
    eraser: EraserFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for its row locks goes on then; no statement of the session inherits the bound."""
    eraser.tombstone("dead")
    show = "SELECT current_setting('idle_in_transaction_session_timeout') AS value"
    seen = []
    for module, name in ((erase_module, "find_referred"), (outcome_module, "settle_tombstones")):
        real = getattr(module, name)

        def look(*arguments: object, real: Callable[..., object] = real) -> object:
            seen.append(fetch_one(show).value)
            return real(*arguments)

        monkeypatch.setattr(module, name, look)
    assert eraser.erase(quarantine_s=DAY_S).set_aside == 1
    assert set(seen) == {"3s"} and len(seen) >= 2
    assert fetch_one(show).value == "1min"
