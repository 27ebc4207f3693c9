"""`dredge due` (also called `scan`), `plan` and `collect`, as a person and as a script uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.policy import HOUR_MS
from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage

REST = {"uploads": 0, "due_without_garbage": 0}
TOTAL = {"repositories", "tags", "manifests", "blobs", "bytes"}


def test_scan_lists_who_has_garbage_longest_waiting_first(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    other = world.repository("other")
    garbage.image("recent", dead_for_ms=HOUR_MS)
    garbage.image("old", repository=other, dead_for_ms=5 * HOUR_MS)
    with world.changes() as changes:
        said = dredge("scan", "--json")
        text = dredge("scan")
    assert not changes
    assert [line["repository"] for line in said.lines] == ["acme/other", "acme/app"]
    assert [line["due_ms"] for line in said.lines] == [
        line["due_ms"] for line in dredge("due", "--json").lines
    ]
    assert [line["waiting_ms"] // HOUR_MS for line in said.lines] == [5, 1]
    assert text.code == 0 and "due: 2 repositories\n" in text.out and "5h 0m" in text.out


def test_scan_lists_no_more_than_asked_for(world: World, dredge: Dredge, garbage: Garbage) -> None:
    for n in range(4):
        garbage.image(f"t{n}", repository=world.repository(f"repo-{n}"), dead_for_ms=HOUR_MS * (9 - n))
    said = dredge("scan", "--limit", "2", "--json")
    assert [line["repository"] for line in said.lines] == ["acme/repo-0", "acme/repo-1"]
    assert "due: 2 repositories or more" in dredge("scan", "--limit", "2").out


def test_scan_of_a_clean_registry_says_so(dredge: Dredge, garbage: Garbage) -> None:
    assert dredge("scan", "--json").out == "" and garbage.objects() == 1
    assert "due: 0 repositories" in dredge("scan").out


def test_plan_says_what_collect_then_does(world: World, dredge: Dredge, garbage: Garbage) -> None:
    other = world.repository("other")
    dead = [garbage.image("v1", size=1000, dead_for_ms=1), garbage.image("v2", size=24, dead_for_ms=1)]
    dead.append(garbage.image("v1", size=7, repository=other, dead_for_ms=1))
    with world.changes() as changes:
        planned = dredge("plan", "--json")
    assert not changes and planned.code == 0
    *each, total = planned.lines
    assert total == {"repositories": 2, "tags": 3, "manifests": 3, "blobs": 3, "bytes": 1031} | REST
    named = {line["repository"]: (line["tags"], line["manifests"]) for line in each}
    assert named["acme/app"][0] == ["acme/app:v1", "acme/app:v2"]
    assert named["acme/other"] == (["acme/other:v1"], [f"acme/other@{dead[2].manifest.digest}"])
    blobs = world.rows("SELECT id FROM imagestorage WHERE image_size IN (1000, 24, 7)")
    with world.only_removes(tag=dead, manifest=[tag.manifest for tag in dead], blob=[id for (id,) in blobs]):
        collected = dredge("collect", "--all", "--json")
    assert collected.code == 0 and set(total) == TOTAL | set(REST)
    (said,) = collected.lines
    assert {key: said[key] for key in TOTAL} | REST == total and said["objects"] == 3
    assert garbage.objects() == 1
    assert dredge("plan", "--json").lines == [dict.fromkeys(total, 0)]
    nothing = dict.fromkeys(("objects", "set_aside", "set_aside_bytes", "failed_objects", *TOTAL), 0)
    empty: dict[str, object] = {"freed_after_ms": None, "failures": [], "skipped": [], "not_purged": []}
    assert dredge("collect", "--all", "--json").lines == [nothing | empty]


def test_plan_and_collect_of_one_repository_leave_the_others(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    other = world.repository("other")
    mine = garbage.image("v1", dead_for_ms=1)
    garbage.image("v1", repository=other, dead_for_ms=1)
    text = dredge("plan", "acme/app")
    assert text.out.splitlines()[:2] == ["acme/app:v1", f"acme/app@{mine.manifest.digest}"]
    assert text.out.splitlines()[2].startswith(
        "would be removed: 1 tag and 1 manifest of 1 repository, 1 blob"
    )
    blob = world.value("SELECT blob_id FROM manifestblob WHERE manifest_id = %s", (int(mine.manifest),))
    with world.only_removes(tag=mine, manifest=mine.manifest, blob=blob):
        said = dredge("collect", "acme/app")
    assert said.code == 0
    assert said.out == "removed: 1 tag and 1 manifest of 1 repository, 1 blob (100 B), 1 object\n"
    assert garbage.objects() == 2


def test_plan_without_a_repository_is_a_table_for_people(dredge: Dredge, garbage: Garbage) -> None:
    garbage.image("v1", dead_for_ms=1)
    said = dredge("plan")
    assert "acme/app" in said.out and said.out.splitlines()[-1].startswith("would be removed: 1 tag ")


def test_a_repository_that_is_due_for_a_candidate_that_lives_is_counted_apart(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    """So `dredge due` has as many repositories as both lines of the plan."""
    garbage.image("v1", dead_for_ms=1)
    living = world.tag("latest", repository=world.repository("other"))
    world.execute(
        "INSERT INTO dredge_manifest_candidate (repository_id, manifest_id, created_ms) VALUES (%s, %s, 1)",
        (int(living.repository), int(living.manifest)),
    )
    assert "due: 2 repositories\n" in dredge("due").out
    first, second = dredge("plan").out.splitlines()[-2:]
    assert first.startswith("would be removed: 1 tag and 1 manifest of 1 repository,")
    assert second == "due without garbage: 1 repository"
    assert dredge("plan", "--json").lines[-1]["due_without_garbage"] == 1
    assert dredge("collect", "--all").code == 0
    assert "due: 0 repositories" in dredge("due").out and "due without" not in dredge("plan").out
    assert world.value("SELECT count(*) FROM manifest WHERE id = %s", (int(living.manifest),)) == 1


def test_a_repository_without_garbage_has_an_empty_plan(dredge: Dredge, garbage: Garbage) -> None:
    said = dredge("plan", "acme/app", "--json")
    assert said.lines == [{"repositories": 0, "tags": 0, "manifests": 0, "blobs": 0, "bytes": 0} | REST]
    assert said.code == 0 and garbage.objects() == 1


def test_collect_needs_to_be_told_what(dredge: Dredge) -> None:
    for arguments in (["collect"], ["collect", "acme/app", "--all"]):
        said = dredge(*arguments)
        assert said.code == 2 and "give repositories, or --all" in said.err


@pytest.mark.parametrize(
    "arguments",
    [["plan", "acme/none"], ["collect", "acme/none"], ["history", "acme/none"]],
)
def test_an_unknown_repository_is_one_line_and_exit_code_one(dredge: Dredge, arguments: list[str]) -> None:
    said = dredge(*arguments)
    assert said.code == 1 and said.out == ""
    assert said.err.startswith("dredge: There is no repository acme/none")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("name", ["acme", "acme/", "/app", "acme/app:tag", "../x/y z"])
def test_a_name_that_is_none_is_one_line_and_exit_code_two(dredge: Dredge, name: str) -> None:
    said = dredge("plan", name)
    assert said.code == 2 and len(said.err.splitlines()) == 1 and "Traceback" not in said.err


def test_objects_that_cannot_be_erased_are_exit_code_one_and_tried_again(
    world: World, dredge: Dredge, garbage: Garbage, tmp_path: Path
) -> None:
    garbage.image("v1", dead_for_ms=1)
    said = dredge("collect", "--all", "--json", STORAGE=f"mars={tmp_path}", UPLOAD_LOCATION="mars")
    assert said.code == 1 and said.lines[0]["manifests"] == said.lines[0]["failed_objects"] == 1
    assert json.loads(said.err.splitlines()[-1])["error"].startswith("1 object could not be erased")
    assert world.rows("SELECT tries, last_error FROM dredge_tombstone") == [
        (1, "location local_us is not configured")
    ]
    world.execute("UPDATE dredge_tombstone SET due_ms = 0")
    assert dredge("collect", "--all").code == 0 and garbage.objects() == 1


def test_collect_all_goes_on_after_a_repository_that_fails_and_names_it(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    sick, well = world.repository("sick"), world.repository("well")
    stuck = garbage.image("v1", repository=sick, dead_for_ms=2)
    gone = garbage.image("v1", repository=well, dead_for_ms=1)
    world.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$"
    )
    world.execute(
        "CREATE TRIGGER refuse BEFORE DELETE ON tag FOR EACH ROW"
        f" WHEN (OLD.repository_id = {int(sick)}) EXECUTE FUNCTION refuse()"
    )
    said = dredge("collect", "--all")
    assert said.code == 1 and "Traceback" not in said.err
    assert "acme/sick: not this one" in said.err and "1 of 2 repositories failed" in said.err
    assert not world.value("SELECT count(*) FROM tag WHERE id = %s", (int(gone),))
    assert world.value("SELECT count(*) FROM tag WHERE id = %s", (int(stuck),)) == 1
    assert [row["repository"] for row in dredge("status", "--json").lines[0]["failures"]] == ["acme/sick"]
