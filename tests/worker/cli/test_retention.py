"""`dredge retention`, `dredge plan --policy` and `dredge inuse`, as a person and as a script use them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.model.retention.retaining import DAY_MS, alive, namespace_policy
from tests.support.world import World
from tests.worker.cli.conftest import Dredge, Garbage


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.yaml"
    path.write_text("rules:\n- {name: old builds, action: expire, tags: 'pr-*', older_than: 1d}\n")
    return str(path)


@pytest.fixture
def builds(world: World, garbage: Garbage) -> World:
    """Two old builds in one repository, one in another, and a bystander in each."""
    for repository, names in (
        (world.default_repository, ("pr-1", "pr-2")),
        (world.repository("b"), ("pr-1",)),
    ):
        for name in (*names, "v1"):
            manifest = world.manifest(repository, blobs=[garbage.blob(1000)])
            world.tag(name, manifest=manifest, start_ms=world.now_ms - 2 * DAY_MS)
    return world


def test_a_plan_of_rules_is_a_table_json_or_csv(builds: World, dredge: Dredge, rules: str) -> None:
    with builds.changes() as changes:
        said = dredge("plan", "--policy", rules, "--json")
        text = dredge("plan", "--policy", rules)
        rows = list(csv.DictReader(io.StringIO(dredge("plan", "--policy", rules, "--csv").out)))
        one = dredge("plan", "acme/b", "--policy", rules, "--json")
    assert not changes
    assert said.lines[-1] == {"repositories": 2, "tags": 3, "manifests": 3, "blobs": 3, "bytes": 3000}
    assert said.lines[0]["rule"] == "old builds" and said.lines[0]["tags"] == [
        "acme/app:pr-1",
        "acme/app:pr-2",
    ]
    assert "would end: 3 tags of 2 repositories" in text.out
    assert [(row["repository"], row["tags"], row["bytes"]) for row in rows] == [
        ("acme/app", "2", "2000"),
        ("acme/b", "1", "1000"),
    ]
    assert one.lines[-1]["tags"] == 1


def test_a_run_does_what_the_plan_said_and_the_audit_tells_of_it(
    builds: World, dredge: Dredge, rules: str
) -> None:
    said = dredge("retention", "run", "acme/app", "acme/b", "--policy", rules, "--json")
    assert [line["ended"] for line in said.lines] == [2, 1]
    assert alive(builds) == {"v1", "bystander"}
    audited = dredge("retention", "audit", "acme/app", "--json").lines
    assert [(line["repository"], line["tag"], line["rule"]) for line in audited] == [
        ("acme/app", "pr-2", "old builds"),
        ("acme/app", "pr-1", "old builds"),
    ]
    assert "acme/b:pr-1" in dredge("retention", "audit").out
    assert "0 tags ended" in dredge("retention", "run", "acme/app", RETENTION_FILE=rules).out
    assert dredge("retention", "problems").code == 0


def test_a_skipped_policy_is_a_problem(world: World, dredge: Dredge, garbage: Garbage) -> None:
    namespace_policy(world, "{broken")
    assert dredge("retention", "run", "acme/app", AUTOPRUNE="true").code == 0
    said = dredge("retention", "problems", "--json")
    assert said.code == 1 and "not JSON" in said.lines[0]["problems"]
    assert "acme/app" in dredge("retention", "problems").out


def test_a_file_is_checked_and_a_mistake_is_one_line(dredge: Dredge, rules: str, tmp_path: Path) -> None:
    assert dredge("retention", "check", rules).out == "1 rule, no mistakes\n"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("rules:\n- {name: a, action: destroy}\n")
    for said in (dredge("retention", "check", str(wrong)), dredge("plan", "--policy", str(wrong))):
        assert said.code == 1
        assert said.err == "dredge: line 2: rule 'a': action must be keep or expire\n"
    assert dredge("plan", "--csv").code == 2


def test_the_list_of_digests_in_use_is_loaded_and_its_age_is_shown(
    world: World, dredge: Dredge, tmp_path: Path, garbage: Garbage
) -> None:
    path = tmp_path / "running"
    path.write_text(f"sha256:{'a' * 64}\n")
    source = {"IN_USE_SOURCE": str(path)}
    stale = dredge("inuse", "status", "--json", **source)
    assert stale.code == 1 and stale.lines == [{"digests": 0, "age_ms": None, "stale": True}]
    assert dredge("inuse", "load", **source).out == "1 digest in use\n"
    fresh = dredge("inuse", "status", **source)
    assert fresh.code == 0 and "1 digest in use, loaded" in fresh.out
    path.write_text("")
    assert dredge("inuse", "load", **source).code == 1
    assert world.value("SELECT count(*) FROM dredge_in_use") == 1
    assert dredge("inuse", "load").code == 1


def test_rules_are_set_listed_and_removed_and_plan_shows_a_change_before_it_is_set(
    builds: World, dredge: Dredge, rules: str, tmp_path: Path
) -> None:
    assert dredge("retention", "set", rules).out == "set: old builds\n"
    assert dredge("retention", "rules", "--json").lines[0]["name"] == "old builds"
    assert "action: expire, tags: pr-*, older_than: 1d" in dredge("retention", "rules").out
    changed = tmp_path / "changed.yaml"
    changed.write_text("rules:\n- {name: old builds, action: expire, tags: pr-2, older_than: 1d}\n")
    assert dredge("plan", "--policy", str(changed), "--json").lines[-1]["tags"] == 1
    assert "acme/app: 2 tags ended" in dredge("retention", "run", "acme/app").out
    (set_by,) = builds.rows("SELECT author FROM dredge_retention_rule")
    assert builds.rows("SELECT DISTINCT author FROM dredge_ended_tag") == [set_by]
    assert alive(builds) == {"v1", "bystander"}
    unknown = dredge("retention", "remove", "old builds", "other")
    assert unknown.code == 1 and "no stored rule is called other" in unknown.err
    assert dredge("retention", "remove", "old builds").out == "removed: old builds\n"
    assert dredge("retention", "rules", "--json").lines == []
    assert "0 tags ended" in dredge("retention", "run", "acme/b").out


def test_a_mistake_is_not_set_and_a_row_that_is_wrong_is_seen(
    world: World, dredge: Dredge, tmp_path: Path, garbage: Garbage
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("rules:\n- {name: a, action: destroy}\n")
    with world.changes() as changes:
        said = dredge("retention", "set", str(wrong))
    assert said.code == 1 and not changes
    assert said.err == "dredge: line 2: rule 'a': action must be keep or expire\n"
    world.execute("INSERT INTO dredge_retention_rule VALUES ('a', '{name: a, action: destroy}', 'x', 1)")
    seen = dredge("retention", "rules")
    assert seen.code == 1 and "action must be keep or expire" in seen.out and "not valid: a" in seen.err
    assert "The stored rule 'a' is not valid" in dredge("check").out
    dredge("retention", "run", "acme/app")
    assert "no rule ends a tag until that is mended" in dredge("retention", "problems").out


def test_check_says_that_a_stale_list_stops_retention(
    world: World, dredge: Dredge, rules: str, tmp_path: Path
) -> None:
    path = tmp_path / "running"
    path.write_text(f"sha256:{'a' * 64}\n")
    settings = {"IN_USE_SOURCE": str(path), "RETENTION_FILE": rules}
    said = dredge("check", **settings).out
    assert "1 rule in the file, 0 in the database; Quay's policies do not run" in said
    assert "The list of digests in use is missing or too old" in said
    dredge("inuse", "load", **settings)
    assert "The list of digests in use" not in dredge("check", **settings).out
    assert "must be keep or expire" not in said
    assert "not JSON" in dredge("check", AUTOPRUNE_DEFAULT="{").out
