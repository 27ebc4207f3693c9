"""A short soak, as `make soak` does it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.audit import audit_journals
from tests.soak.journal import Entry
from tests.soak.mutations import MUTATIONS
from tests.soak.processes import ROOT
from tests.soak.verdict import Judge, parse
from tests.support.world import World

FAULTS = {
    *("worker killed", "worker's child killed", "beat killed", "client killed", "clock jumped"),
    *("broker restarted", "broker killed", "broker frozen"),
    *("database restarted", "database killed", "database frozen", "standby promoted"),
}


@pytest.mark.slow
def test_a_short_soak_finds_nothing_wrong(tmp_path: Path) -> None:
    """The verdict on what its clients saw is that nothing was lost; with a planted bug it is not."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.soak",
            "--seconds",
            "20",
            "--seed",
            "7",
            "--json",
            "--logs",
            str(tmp_path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert told["counts"]["promises held"] > 0
    assert told["counts"]["worker killed"] > 0
    assert told["counts"]["reads judged"] > 0
    assert told["counts"]["certificates"] > 0
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert {line["facts"]["what"] for line in lines if line["op"] == "fault"} >= FAULTS
    for name in ("a collection takes a tag in use", "an eraser takes an object in use"):
        mutate, finding = MUTATIONS[name]
        changed = copy.deepcopy(lines)
        mutate(changed)
        assert {text.partition(":")[0] for text in Judge(map(parse, changed)).judge().wrong} == {finding}


def naming(world: World, tag: str, begin: float, **facts: object) -> Entry:
    """Somebody was told that the tag points at a manifest of that name."""
    entry = Entry("push", begin, world.repository_id, tag, "sha256:x", end=begin + 1)
    for name, value in facts.items():
        setattr(entry, name, value)
    return entry


def wrong(*entries: Entry, outages: tuple[tuple[float, float], ...] = ()) -> list[str]:
    return [text.partition(":")[0] for text in audit_journals(entries, outages, 5).wrong]


def test_a_promise_that_is_not_kept_is_found(world: World) -> None:
    tag = world.tag("there")
    told = naming(world, "there", 10, digest=tag.manifest.digest)
    assert wrong(told) == []
    assert wrong(told, naming(world, "gone", 10)) == ["lost promise"]


def test_a_promise_ends_with_whatever_may_have_come_after_it(world: World) -> None:
    told = naming(world, "gone", 10)
    assert wrong(told, naming(world, "gone", 5, op="delete")) == ["lost promise"]
    assert wrong(told, naming(world, "gone", 10.5, op="delete")) == []
    assert wrong(told, naming(world, "gone", 5, op="delete", end=None)) == [], "killed: nobody knows"
    assert wrong(told, naming(world, "gone", 11, op="delete", changed=False)) == ["lost promise"]
    assert wrong(told, naming(world, "other", 11, op="delete")) == ["lost promise"]


def test_a_failure_needs_a_reason(world: World) -> None:
    failed = naming(world, "x", 100, error="DatabaseUnavailable")
    assert wrong(failed) == ["unexplained failure"]
    assert wrong(failed, outages=((99.5, 100.5),)) == []
    assert wrong(failed, outages=((50, 60),)) == ["unexplained failure"]
    for error in ("Contended", "ManifestGone", "NoSuchBlob", "Lost", "unexpected KeyError"):
        assert wrong(naming(world, "x", 100, error=error)) == ["unexplained failure"], error
    assert wrong(naming(world, "x", 100, error="NoSuchBlob", end=107.0)) == [], "its hold had run out"
    ended = naming(world, "y", 100.5, op="delete of manifest")
    assert wrong(naming(world, "x", 100, error="ManifestGone"), ended) == []
    childless = naming(world, "x", 100, error="NoSuchManifest")
    named, deleted = naming(world, "z", 100, digest="sha256:x"), naming(world, "z", 100.5, op="delete")
    assert wrong(childless, deleted) == ["unexplained failure"]
    assert wrong(childless, named, deleted) == [], "a tag of the same index was deleted meanwhile"
