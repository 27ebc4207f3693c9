"""`dredge init` and `dredge check`, as people and scripts see them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from model.db import connection as database
from model.db import introspection
from model.events import trigger as triggers
from model.periodic import record_end
from model.policy import HOUR_MS
from tests.support.quay import create_quay_tables
from tests.support.world import World
from worker.cli import dredge

DREDGE = str(Path(sys.executable).parent / "dredge")


@pytest.fixture
def environment(empty_database: str, valkey: str, tmp_path: Path) -> dict[str, str]:
    return {
        "DREDGE_DATABASE_URL": empty_database,
        "DREDGE_BROKER_URL": valkey,
        "DREDGE_STORAGE": f"local_us={tmp_path}",
    }


def _run(environment: Mapping[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(dredge, arguments, env=dict(environment))


def _findings(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_init_says_what_it_found_and_did(environment: dict[str, str]) -> None:
    first = _run(environment, "init")
    assert first.exit_code == 0, first.output
    assert "Found an empty database." in first.stdout
    again = _run(environment, "init")
    assert again.stdout.splitlines()[:2] == ["Found a registry's database.", "Nothing to create."]


def test_init_beside_a_quay_adds_only_our_tables(environment: dict[str, str]) -> None:
    create_quay_tables(environment["DREDGE_DATABASE_URL"])
    result = _run(environment, "init", "--json")
    said = json.loads(result.stdout)
    assert said["found"] == "registry"
    assert all(table.startswith("dredge_") for table in said["tables"])


def test_triggers_come_and_go(environment: dict[str, str]) -> None:
    for option, expected in (("--triggers", True), ("--triggers", True), ("--no-triggers", False)):
        assert _run(environment, "init", option).exit_code == 0
        database.configure(environment["DREDGE_DATABASE_URL"])
        with database.connection():
            assert triggers.triggers_installed() is expected


def test_check_is_content_after_init(environment: dict[str, str]) -> None:
    before = _run(environment, "check")
    assert before.exit_code == 1
    assert "run `dredge init`" in before.stdout
    _run(environment, "init")
    after = _run(environment, "check", "--json")
    assert after.exit_code == 0, after.output
    assert {finding["part"] for finding in _findings(after)} >= {"database", "schema", "broker", "storage"}


def test_check_names_every_problem_at_once(environment: dict[str, str], tmp_path: Path) -> None:
    _run(environment, "init")
    world = World(environment["DREDGE_DATABASE_URL"])
    world.execute("DROP INDEX blob_content_checksum")
    world.blob(placement="far_away")
    world.close()
    broken = environment | {
        "DREDGE_BROKER_URL": "redis://:hunter2@127.0.0.1:1/0",
        "DREDGE_STORAGE": f"local_us={tmp_path / 'missing' / 'below'}",
    }
    (tmp_path / "missing").write_text("a file in the way")
    result = _run(broken, "check", "--json")
    problems = {finding["part"]: finding["problem"] for finding in _findings(result) if finding["problem"]}
    assert result.exit_code == 1
    assert set(problems) == {"schema", "broker", "cache", "storage"}
    assert "hunter2" not in result.output


def test_check_names_locations_that_nobody_configured(environment: dict[str, str]) -> None:
    _run(environment, "init")
    world = World(environment["DREDGE_DATABASE_URL"])
    world.blob(placement="far_away")
    world.close()
    result = _run(environment, "check")
    assert "far_away, which DREDGE_STORAGE does not name" in result.stdout


def test_check_and_status_say_which_periodic_task_is_late(environment: dict[str, str]) -> None:
    _run(environment, "init")
    assert "PROBLEM" not in _run(environment, "check").stdout
    world = World(environment["DREDGE_DATABASE_URL"])
    values = [("find", 30_000, 2 * HOUR_MS), ("sweep", 6 * HOUR_MS, 2 * HOUR_MS), ("prune", 60_000, None)]
    for name, interval_ms, ago_ms in values:
        ended_ms = None if ago_ms is None else world.now_ms - ago_ms
        row = (name, interval_ms, world.now_ms - 3 * HOUR_MS, ended_ms)
        world.execute("INSERT INTO dredge_periodic_task VALUES (%s, %s, %s, %s)", row)
    late = _run(environment, "check")
    assert late.exit_code == 1 and late.stdout.count("PROBLEM") == 2, late.stdout
    assert "PROBLEM\tstages\tThe task find last ended 2h " in late.stdout
    assert "The task prune has never ended, one is due every 1m 0s: start a beat and a worker" in late.stdout
    status = _run(environment, "status").stdout
    assert status.startswith("late task\tevery\tlast ended\twaits for\n")
    assert "find\t30.0s\t" in status and "prune\t1m 0s\tnever\t3h 0m" in status and "sweep\t" not in status
    told = json.loads(_run(environment, "status", "--json").stdout)["periodic"]
    assert {each["name"]: each["is_late"] for each in told} == {"find": True, "prune": True, "sweep": False}
    for name, interval_ms, _ in values:
        record_end(name, interval_ms)
    again = _run(environment, "check")
    assert again.exit_code == 0 and "ok\tstages\tthe last scan was " in again.stdout, again.stdout
    assert world.value("SELECT count(*) FROM dredge_periodic_task") == 3
    world.close()


def test_without_urls_a_command_says_what_to_set() -> None:
    result = subprocess.run([DREDGE, "init"], capture_output=True, text=True, env={"PATH": os.defpath})
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "DREDGE_DATABASE_URL is not set" in result.stderr


def test_a_wrong_configuration_is_wrong_usage_with_all_problems() -> None:
    environment = {"PATH": os.defpath, "DREDGE_AUTOPRUNE": "perhaps", "DREDGE_TYPO": "1"}
    result = subprocess.run([DREDGE, "check"], capture_output=True, text=True, env=environment)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 2


def test_half_a_registry_is_refused_in_one_line(empty_database: str) -> None:
    world = World(empty_database)
    world.execute("CREATE TABLE tag (id serial PRIMARY KEY)")
    world.close()
    environment = {"PATH": os.defpath, "DREDGE_DATABASE_URL": empty_database}
    result = subprocess.run([DREDGE, "init"], capture_output=True, text=True, env=environment)
    assert result.returncode == 1
    assert result.stderr.startswith("dredge: The database has some of a registry's tables (tag)")
    assert len(result.stderr.splitlines()) == 1
    assert introspection.find_tables() == {"tag"}
