"""`dredge status`, `history` and `explain`: what there is to see, and why."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from model.gc.due.attempt import claim, record_failure
from model.policy import HOUR_MS, Policy
from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage
from worker.cli.status import SECTIONS
from worker.jobs.overview import read_overview


def test_status_tells_the_backlog_and_what_was_freed(world: World, dredge: Dredge, garbage: Garbage) -> None:
    garbage.image("v1", size=1000, dead_for_ms=3 * HOUR_MS)
    (before,) = dredge("status", "--json").lines
    assert (before["repositories_due"], before["whole_registry"], before["freed"]) == (1, True, [])
    assert before["oldest_overdue_ms"] // HOUR_MS == 3 and before["failures"] == []
    dredge("collect", "--all")
    (after,) = dredge("status", "--json").lines
    assert (after["repositories_due"], after["oldest_overdue_ms"], after["tombstones"]) == (0, 0, 0)
    acme, objects = after["freed"]
    assert (acme["namespace"], acme["tags"], acme["manifests"], acme["blobs"]) == ("acme", 1, 1, 1)
    assert acme["bytes"] == 1000 and (objects["namespace"], objects["objects"]) == ("(objects)", 1)


def test_status_shows_people_each_stage_of_the_backlog(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    garbage.image("v1", dead_for_ms=1)
    claim([world.repository_id])
    record_failure(world.repository_id, "the odd manifest")
    world.insert(
        "dredge_tombstone", path="uploads/x", location="mars", size=2048, created_ms=1, due_ms=1, tries=3
    )
    with world.changes() as changes:
        said = dredge("status")
    assert not changes and said.code == 0
    lines = {line.strip().split("\t")[0]: line for line in said.out.splitlines() if line.strip()}
    assert "2.0 KiB, 1 failing" in lines["objects to erase"] and "never" in lines["last scan"]
    assert "the odd manifest" in lines["acme/app"] and "\tin " in lines["acme/app"]
    assert "0" in lines["repositories with garbage"]


def test_status_names_failures_with_their_next_try(world: World, dredge: Dredge, garbage: Garbage) -> None:
    for _ in range(2):
        claim([world.repository_id])
        record_failure(world.repository_id, "the odd manifest")
    record_failure(424_242, "of a repository that went meanwhile")
    failures = dredge("status", "--json").lines[0]["failures"]
    assert [(row["repository"], row["failures"]) for row in failures] == [("acme/app", 2), ("#424242", 1)]
    assert failures[0]["last_error"] == "the odd manifest" and failures[0]["retry_ms"] > world.now_ms
    assert garbage.objects() == 1


def test_status_says_how_long_the_backlog_takes_at_the_rate_of_the_last_hour(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    world.insert(
        "dredge_tombstone", path="x", location="l", size=1, created_ms=1, due_ms=world.now_ms + HOUR_MS
    )
    (before,) = dredge("status", "--json").lines
    assert before["erase_left_ms"] is None and "\tunknown" in dredge("status").out
    finished = {"started_ms": 1, "finished_ms": world.now_ms - 1000}
    world.insert("dredge_collection", stage="erase", objects=4, **finished)
    (after,) = dredge("status", "--json").lines
    assert after["last_hour"]["objects"] == 4 and after["erase_left_ms"] == HOUR_MS // 4
    assert "about 15m 0s" in dredge("status").out and garbage.objects() == 1


def test_status_can_be_watched_until_ctrl_c(
    world: World, dredge: Dredge, garbage: Garbage, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        garbage.image(f"v{len(slept)}", repository=world.repository(f"r{len(slept)}"), dead_for_ms=1)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("worker.cli.status.time.sleep", sleep)
    said = dredge("status", "--watch", "--json")
    assert said.code == 0 and [line["repositories_due"] for line in said.lines] == [0, 1, 2]
    assert slept == [2, 2, 2]


def test_no_two_sections_of_the_status_say_the_same(world: World) -> None:
    overview = read_overview(Policy())
    keys = [key for read in SECTIONS for key in read(overview).facts]
    assert len(keys) == len(set(keys))


def test_history_lists_the_steps_newest_first(world: World, dredge: Dredge, garbage: Garbage) -> None:
    other = world.repository("other")
    garbage.image("v1", size=10, dead_for_ms=1)
    dredge("collect", "--all")
    garbage.image("v1", size=10, repository=other, dead_for_ms=1)
    dredge("collect", "acme/other")
    steps = dredge("history", "--json").lines
    assert [step["stage"] for step in steps] == ["erase", "review", "collect"] * 2
    assert [step["id"] for step in steps] == sorted((step["id"] for step in steps), reverse=True)
    assert steps[1]["repository"] == "acme/other" and steps[1]["bytes"] == 10
    mine = dredge("history", "acme/app", "--json").lines
    assert [(step["stage"], step["repository"]) for step in mine] == [
        ("review", "acme/app"),
        ("collect", "acme/app"),
    ]
    assert len(dredge("history", "--limit", "1", "--json").lines) == 1
    text = dredge("history")
    assert text.code == 0 and text.out.count("acme/other") == 2 and "10 B" in text.out


def test_history_of_nothing_is_empty(dredge: Dredge, garbage: Garbage) -> None:
    assert dredge("history", "--json").out == "" and dredge("history").code == 0
    assert garbage.objects() == 1


def test_looking_changes_nothing(world: World, dredge: Dredge, garbage: Garbage) -> None:
    dead = garbage.image("v1", dead_for_ms=1)
    with world.changes() as changes:
        dredge("status")
        dredge("history")
        dredge("explain", f"acme/app@{dead.manifest.digest}")
    assert not changes, asdict(changes)


def test_verify_accepts_what_collect_did_and_fails_after_a_change(
    world: World, dredge: Dredge, garbage: Garbage
) -> None:
    garbage.image("v1", size=1000, dead_for_ms=3 * HOUR_MS)
    garbage.image("kept")
    dredge("collect", "--all")
    assert "2 certificates of 1 manifest and 1 blob: all are true" in dredge("verify").out
    tasks = world.rows("SELECT body::json ->> 'task' FROM dredge_certificate")
    assert tasks == [("dredge collect",)] * 2
    world.execute(
        "UPDATE dredge_certificate SET sum = '' WHERE id = (SELECT max(id) FROM dredge_certificate)"
    )
    rejected = dredge("verify", "--json")
    (verdict,) = rejected.lines
    assert rejected.code == 1 and verdict["problems"] and verdict["certificates"] == 2
