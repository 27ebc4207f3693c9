"""What an operator sees of the trash and of suspended locations, and how an object comes back on purpose."""

from __future__ import annotations

import pytest

from model.db.clock import now_ms
from model.human import when
from model.storage_paths import object_path
from tests.support.eraser import CONTENT, EraserFixture
from tests.support.world import Row, World
from tests.worker.cli.conftest import Dredge, Garbage
from worker.storage.local import LocalStore

DAY_S = 86_400
QUAY = "redis://127.0.0.1:1"


@pytest.fixture
def eraser(world: World, store: LocalStore) -> EraserFixture:
    return EraserFixture(world, store.root, store=store)


@pytest.fixture
def dead(eraser: EraserFixture) -> Row:
    """An object in the trash."""
    tombstone = eraser.tombstone("dead")
    assert eraser.erase(quarantine_s=DAY_S).set_aside == 1
    return tombstone


def test_an_object_goes_back_with_a_row_that_refers_to_it(
    eraser: EraserFixture, dead: Row, dredge: Dredge
) -> None:
    eraser.world.blob(digest=dead.digest)
    said = dredge("undelete", dead.digest)
    assert (said.code, said.out) == (0, f"{dead.digest} is back at local_us.\n")
    assert eraser.paths() == {dead.path}


def test_without_a_row_it_stays_and_the_command_says_how_long_and_what_to_do(
    eraser: EraserFixture, dead: Row, dredge: Dredge
) -> None:
    with eraser.world.unchanged():
        said = dredge("undelete", dead.digest)
    assert said.code == 1 and not eraser.paths()
    for part in ("nothing refers to", "stays in the trash of local_us until 20", "--repository"):
        assert part in said.err
    said = dredge("undelete", dead.digest, "--json")
    (facts,) = said.lines
    assert said.code == 1 and facts["is_back"] is False
    assert DAY_S * 1000 - 60_000 < facts["purge_ms"] - now_ms() <= DAY_S * 1000


def test_a_repository_can_hold_it_until_its_manifest_is_pushed(
    eraser: EraserFixture, dead: Row, dredge: Dredge
) -> None:
    said = dredge("undelete", dead.digest, "--repository", "acme/app", "--json")
    assert said.code == 0, said.err
    assert said.lines[0]["is_back"] is True
    assert b"".join(eraser.store.read(dead.path)) == CONTENT
    held = eraser.world.rows(
        "SELECT u.repository_id, b.image_size FROM imagestorage b JOIN uploadedblob u ON u.blob_id = b.id"
        " JOIN imagestorageplacement p ON p.storage_id = b.id WHERE b.content_checksum = %s",
        (dead.digest,),
    )
    assert held == [(eraser.world.repository_id, len(CONTENT))]
    eraser.run(quarantine_s=DAY_S)
    assert eraser.paths() == {dead.path} and not eraser.left()


def test_what_the_trash_does_not_have_cannot_be_put_back(eraser: EraserFixture, dredge: Dredge) -> None:
    said = dredge("undelete", eraser.bystander)
    assert (
        said.code == 1 and "The trash has no object of this digest" in said.err and said.err.count("\n") == 1
    )
    assert dredge("undelete", "latest").code == 2


def test_a_quarantined_digest_is_explained(eraser: EraserFixture, dead: Row, dredge: Dredge) -> None:
    said = dredge("explain", dead.digest)
    assert "is in the trash of local_us, and is erased in" in said.out and "dredge undelete" in said.out
    eraser.world.tag("late", manifest=eraser.world.manifest(blobs=[eraser.world.blob(digest=dead.digest)]))
    said = dredge("explain", dead.digest)
    assert "is kept" in said.out and "its object is in the trash of local_us, and goes back" in said.out


def test_the_trash_is_counted_in_status_and_fsck(eraser: EraserFixture, dead: Row, dredge: Dredge) -> None:
    said = dredge("status", "--json")
    (facts,) = said.lines
    assert (facts["quarantine"]["objects"], facts["quarantine"]["bytes"]) == (1, len(CONTENT))
    assert facts["quarantine"]["next_purge_ms"] > now_ms() and facts["suspended"] == []
    assert "objects in the trash\t1: 10 B, 0 failing, next purge in" in dredge("status").out
    blob = eraser.world.blob(len(CONTENT), digest=dead.digest)
    eraser.world.tag("late", manifest=eraser.world.manifest(blobs=[blob]))
    eraser.world.execute("UPDATE dredge_quarantine SET tries = 1, last_error = 'permission denied'")
    counts = {each["name"]: each["count"] for each in dredge("fsck", "--json").lines[0]["checks"]}
    assert (counts["object-in-trash"], counts["object-missing"], counts["object-stays-in-trash"]) == (1, 0, 1)


def test_a_suspended_location_is_shown_everywhere_and_lifted_by_itself(
    eraser: EraserFixture, dredge: Dredge
) -> None:
    dead, root = eraser.tombstone("dead"), eraser.store.root
    away = root.rename(root.with_suffix(".away"))
    root.mkdir()
    assert dredge("sweep").code == 1
    (facts,) = dredge("status", "--json").lines
    assert [each["location"] for each in facts["suspended"]] == ["local_us"]
    assert "suspended location\tsince\treason\nlocal_us\t" in dredge("status").out
    said = dredge("check")
    assert said.code == 1 and "local_us is suspended, nothing is erased there" in said.out
    said = dredge("fsck", "--no-objects")
    assert said.code == 1 and "location-suspended" in said.out
    assert "which is suspended: it does not show its identity" in dredge("explain", dead.digest).out
    (root / "dredge-identity").unlink(missing_ok=True)
    for folder in root.iterdir():
        folder.rmdir()
    root.rmdir()
    away.rename(root)
    assert eraser.left() == [dead]
    assert dredge("collect", "--all").code == 0
    assert not eraser.left() and not eraser.paths()
    assert dredge("status", "--json").lines[0]["suspended"] == []
    assert "is suspended" not in dredge("check").out
    assert eraser.store.size(object_path(eraser.bystander, True, "")) == len(CONTENT)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"QUARANTINE_S": "0", "QUAY_REDIS_URL": QUAY},
            "a push of the Quay that writes there",
        ),
        ({"QUARANTINE_S": "3600", "QUAY_REDIS_URL": QUAY}, "DREDGE_QUARANTINE_S above 3603"),
        (
            {"QUARANTINE_S": "3"},
            "longer than a request that lands late: set DREDGE_QUARANTINE_S above 3",
        ),
        ({"QUARANTINE_S": "86400", "QUAY_REDIS_URL": QUAY}, ""),
        ({"QUARANTINE_S": "4"}, ""),
        ({"QUARANTINE_S": "0"}, ""),
    ],
)
def test_check_names_a_quarantine_that_is_not_safe(
    eraser: EraserFixture, dredge: Dredge, settings: dict[str, str], problem: str
) -> None:
    eraser.world.execute("UPDATE imagestorage SET uploading = false")
    found = [line for line in dredge("check", **settings).out.splitlines() if "\tlocal_us: " in line]
    problems = [line for line in found if line.startswith("PROBLEM")]
    assert len(problems) == bool(problem) and problem in "".join(problems)
    if not problem:
        kept = "are erased at once" if settings["QUARANTINE_S"] == "0" else "stay in the trash for"
        assert kept in "".join(found)


def test_check_knows_a_quay_by_its_rows(eraser: EraserFixture, dredge: Dredge) -> None:
    eraser.world.execute("UPDATE imagestorage SET uploading = true")
    assert "a push of the Quay that writes there can lose its object" in dredge("check").out


def test_init_records_who_each_location_is_and_tells_of_two_names_for_one(
    world: World, store: LocalStore, dredge: Dredge
) -> None:
    """The second name is a link to the same directory; a third place is another store."""
    link, other = store.root.with_name("link"), store.root.with_name("other")
    link.symlink_to(store.root)
    storage = f"local_us={store.root},renamed={link},other={other}"
    for _ in range(2):
        (facts,) = dredge("init", "--json", STORAGE=storage).lines
        assert facts["storage"] == {"local_us": "", "renamed": "", "other": ""}
        assert facts["aliases"] == [["local_us", "renamed"]]
        rows = dict(world.rows("SELECT location, identity FROM dredge_storage"))
        assert rows["local_us"] == rows["renamed"] == store.read_identity() != rows["other"]
    assert "local_us, renamed name the same store" in dredge("init", STORAGE=storage).out
    assert "local_us, renamed name the same store" in dredge("check", STORAGE=storage).out


def test_init_gives_a_store_without_the_rows_objects_no_identity(
    world: World, store: LocalStore, dredge: Dredge
) -> None:
    world.tag("bystander", manifest=world.manifest(blobs=[world.blob()]))
    said = dredge("init")
    assert said.code == 0 and "local_us is suspended: no object that the rows know is there" in said.out
    assert store.read_identity() is None


def test_collect_says_what_it_has_set_aside_and_until_when(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    dead = [garbage.image(name, size=1024, dead_for_ms=1) for name in ("v1", "v2")]
    blobs = [id for (id,) in world.rows("SELECT id FROM imagestorage WHERE image_size = 1024")]
    with world.only_removes(tag=dead, manifest=[tag.manifest for tag in dead], blob=blobs):
        said = dredge("collect", "acme/app", QUARANTINE_S=str(DAY_S))
    gone, aside = said.out.splitlines()
    assert said.code == 0 and gone.endswith("2 blobs (2.0 KiB), 0 objects")
    purge_ms = world.value("SELECT max(purge_ms) FROM dredge_quarantine")
    assert aside == f"set aside: 2 objects (2.0 KiB) in the trash; all are freed after {when(purge_ms)}"
    assert purge_ms - now_ms() > DAY_S * 1000 - 60_000
    assert "set aside" not in dredge("collect", "acme/app", QUARANTINE_S=str(DAY_S)).out


def test_case_62_check_asks_a_store_who_it_is_before_anything_was_suspended(
    eraser: EraserFixture, dredge: Dredge
) -> None:
    """Right after a mistake in a mount or a setting, no turn of the eraser has noticed it yet."""
    eraser.tombstone("not yet due", due_ms=2**60)
    root = eraser.store.root
    away = root.rename(root.with_suffix(".away"))
    root.mkdir()
    with eraser.world.unchanged():
        said = dredge("check")
    assert (
        said.code == 1 and said.out.count("local_us is suspended, nothing is erased there: it does not") == 1
    )
    for path in sorted(root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    root.rmdir()
    away.rename(root)
    assert "is suspended" not in dredge("check").out
