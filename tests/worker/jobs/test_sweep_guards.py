"""What a sweep leaves alone: young objects, storage that is not what it was, what the trash still needs."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from model.errors import BadInput
from model.gc.orphans.share import FEWEST
from model.policy import DEFAULT
from model.storage_paths import object_path, trash_path
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import LOCATION, make_context
from tests.support.world import World, digest_of
from worker.cli import dredge
from worker.jobs.context import JobContext
from worker.jobs.storage_identity import UNKNOWN
from worker.jobs.sweep import sweep
from worker.jobs.sweep_result import Swept
from worker.settings import Settings
from worker.storage.local import LocalStore


class SweptStore:
    """A directory with one object that is in use, and a context whose second sweep confirms at once."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self.store = LocalStore(directory, fsync=False)
        self.known = self.put(world.blob().digest)
        self.context: JobContext = make_context({LOCATION: self.store}, settings=Settings(sweep_delay_s=0))

    def put(self, digest: str, *, age_s: float | None = None) -> str:
        """Write an object; by default one that is older than any push."""
        path = object_path(digest, True, "")
        self.store.write(path, [b"content"])
        self.age(path, DEFAULT.upload_ttl_ms / 1000 + 60 if age_s is None else age_s)
        return path

    def age(self, path: str, age_s: float) -> None:
        moment = time.time() - age_s
        os.utime(self.store.root / path, (moment, moment))

    def stray(self, number: int, digest: str) -> str:
        """An object in the trash that no row knows."""
        path, trash = self.put(digest), trash_path(number, object_path(digest, True, ""))
        (moved,) = self.store.set_aside([(path, trash)])
        assert moved.existed
        return trash

    def sweep(self, times: int = 1) -> Swept:
        for _ in range(times):
            found = sweep(self.context, budget_s=PATIENCE_S)[-1]
        return found

    def paths(self, folder: str = "") -> set[str]:
        return {info.path for info in self.store.list(folder)}

    def tombstones(self) -> set[str]:
        return {path for (path,) in self.world.rows("SELECT path FROM dredge_tombstone")}


@pytest.fixture
def swept(world: World, tmp_path: Path) -> SweptStore:
    return SweptStore(world, tmp_path / "objects")


def test_an_object_younger_than_the_longest_push_is_left_alone(swept: SweptStore) -> None:
    young_s = DEFAULT.upload_ttl_ms / 1000 - 3600
    young, old = swept.put(digest_of("young"), age_s=young_s), swept.put(digest_of("old"))
    future = swept.put(digest_of("a store whose clock is ahead"), age_s=-7200)
    assert [swept.sweep().suspects for _ in range(3)] == [1, 1, 0]
    assert swept.tombstones() == {old}
    swept.age(young, DEFAULT.upload_ttl_ms / 1000 + 60)
    swept.sweep(2)
    assert swept.tombstones() == {old, young} and future in swept.paths()


def test_case_60_rows_that_a_quay_wrote_show_whose_a_store_is(world: World, tmp_path: Path) -> None:
    """Quay leaves `uploading` true on every row, also of complete objects."""
    ours = world.blob()
    assert world.value("SELECT uploading FROM imagestorage WHERE id = %s", (int(ours),)) is True
    swept = SweptStore(world, tmp_path / "objects")
    swept.store.erase([swept.known])
    theirs = {swept.put(digest_of(f"theirs {n}")) for n in range(50)}
    assert str(swept.sweep(3).error).startswith(UNKNOWN)
    assert not swept.tombstones() and swept.paths() == theirs


def test_an_unexpected_share_of_unknown_objects_stops_the_sweep_until_it_is_accepted(
    swept: SweptStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the restore of an old database: its rows know a few objects, and most are newer."""
    unknown = {swept.put(digest_of(f"newer than the backup {n}")) for n in range(FEWEST + 1)}
    for _ in range(3):
        found = swept.sweep()
        assert found.confirmed == 0 and "dredge sweep --accept local_us" in (found.error or "")
    assert not swept.tombstones() and "\n" not in (found.error or "")
    monkeypatch.setenv("DREDGE_DATABASE_URL", swept.world.url)
    monkeypatch.setenv("DREDGE_STORAGE", str(swept.store.root))
    monkeypatch.setenv("DREDGE_SWEEP_DELAY_S", "0")
    checked = CliRunner().invoke(dredge, ["check", "--json"])
    assert "The sweep has stopped at local_us" in checked.stdout
    refused = CliRunner().invoke(dredge, ["sweep", "--accept", "nowhere"])
    assert isinstance(refused.exception, BadInput)
    accepted = CliRunner().invoke(dredge, ["sweep", "--json", "--accept", LOCATION])
    assert accepted.exit_code == 0, accepted.output
    assert json.loads(accepted.stdout.splitlines()[-1])["confirmed"] == len(unknown)
    assert swept.tombstones() == unknown and swept.known in swept.paths()


def test_what_was_accepted_covers_no_more_objects_than_were_seen(swept: SweptStore) -> None:
    for n in range(FEWEST + 1):
        swept.put(digest_of(f"accepted {n}"))
    swept.sweep()
    swept.world.execute("UPDATE dredge_sweep SET accepted = last_unknown")
    for n in range(3 * FEWEST):
        swept.put(digest_of(f"not accepted {n}"))
    assert swept.sweep(3).error and len(swept.tombstones()) <= FEWEST + 1


def test_leftovers_of_uploads_are_no_unexpected_share_of_a_large_location(swept: SweptStore) -> None:
    """They lie in the folder that every pass begins with."""
    swept.context = replace(swept.context, settings=Settings(sweep_delay_s=0, sweep_share=50))
    for _ in range(2 * FEWEST):
        swept.put(swept.world.blob().digest)
    for n in range(FEWEST + 1):
        path = f"uploads/{n:08d}-89ab-cdef-0123-456789abcdef"
        swept.store.write(path, [b"chunk"])
        swept.age(path, DEFAULT.upload_ttl_ms)
    assert swept.sweep(2).error is None
    assert len(swept.tombstones()) == FEWEST + 1


def test_nothing_is_confirmed_before_a_whole_pass_told_what_is_usual(swept: SweptStore) -> None:
    old = swept.put("sha256:00" + "1" * 62)
    key = f"{LOCATION}:{old}"
    swept.world.execute("INSERT INTO dredge_orphan VALUES ('object', %s, 1)", (key,))
    assert swept.sweep().confirmed == 0
    assert swept.sweep().confirmed == 1


def test_what_a_frozen_process_moved_without_a_row_goes_back_where_it_is_needed(swept: SweptStore) -> None:
    needed = swept.world.blob().digest
    swept.stray(7, needed)
    assert swept.sweep().put_back == 1
    assert object_path(needed, True, "") in swept.paths() and not swept.paths("dredge-trash")


def test_a_copy_whose_object_is_in_its_place_leaves_the_trash_after_two_passes(swept: SweptStore) -> None:
    needed = swept.world.blob().digest
    trash = swept.stray(7, needed)
    live = swept.put(needed)
    assert swept.sweep().confirmed == 0 and swept.paths("dredge-trash") == {trash}
    assert swept.sweep().confirmed == 1 and not swept.paths("dredge-trash")
    assert live in swept.paths()


def test_what_nothing_needs_leaves_the_trash_after_two_passes(swept: SweptStore) -> None:
    digest = digest_of("dead")
    trash = swept.stray(7, digest)
    assert swept.sweep().confirmed == 0 and swept.paths("dredge-trash") == {trash}
    assert swept.sweep().confirmed == 1 and not swept.paths("dredge-trash")
    assert swept.paths() == {swept.known} and not swept.world.value("SELECT count(*) FROM dredge_orphan")


def test_what_is_referred_to_between_the_passes_goes_back(swept: SweptStore) -> None:
    digest = digest_of("pushed by a Quay")
    swept.stray(7, digest)
    swept.sweep()
    swept.world.blob(digest=digest)
    assert swept.sweep().put_back == 1
    assert object_path(digest, True, "") in swept.paths()


def test_the_trash_of_rows_is_theirs(swept: SweptStore) -> None:
    """A restored database gives the ids of tombstones again, to other paths."""
    kept, again, other = digest_of("kept"), digest_of("again"), digest_of("other")
    trash = [swept.stray(1, kept), swept.stray(2, again), swept.stray(3, other)]
    times = {"set_aside_ms": 1, "look_ms": 2**62, "purge_ms": 2**62}
    for id, digest in ((1, kept), (2, digest_of("this database's"))):
        path = object_path(digest, True, "")
        facts = {"digest": digest, "path": path, "trash": trash_path(id, path)}
        swept.world.insert("dredge_quarantine", id=id, size=7, location=LOCATION, **facts, **times)
    path = object_path(other, True, "")
    times = {"size": 7, "created_ms": 1, "due_ms": 2**62}
    swept.world.insert("dredge_tombstone", id=3, path=path, location=LOCATION, set_aside=True, **times)
    swept.sweep(3)
    assert swept.paths("dredge-trash") == {trash[0], trash[2]}


def test_nothing_is_swept_at_a_suspended_location(swept: SweptStore) -> None:
    swept.put(digest_of("unknown"))
    swept.stray(7, digest_of("dead"))
    swept.sweep()
    swept.world.execute("UPDATE dredge_storage SET identity = 'the right one'")
    before = swept.paths() | swept.paths("dredge-trash")
    assert "another store" in (swept.sweep(2).error or "")
    assert not swept.tombstones() and swept.paths() | swept.paths("dredge-trash") == before
