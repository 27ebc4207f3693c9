"""Commands that must not touch a database that is not theirs to fill, or start on half a configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.db import connection as database
from model.db import introspection
from tests.support.patience import PATIENCE_S
from tests.support.world import World
from tests.worker.broker.running import celery
from tests.worker.cli.conftest import Dredge

DREDGE = str(Path(sys.executable).parent / "dredge")


def run(*arguments: str, answer: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.defpath, **{f"DREDGE_{name}": value for name, value in settings.items()}}
    return subprocess.run([DREDGE, *arguments], capture_output=True, text=True, env=environment, input=answer)


def test_init_leaves_another_applications_database_alone_unless_told(empty_database: str) -> None:
    world = World(empty_database)
    world.execute("CREATE TABLE invoice (id serial PRIMARY KEY)")
    refused = run("init", DATABASE_URL=empty_database)
    assert refused.returncode == 1
    assert refused.stderr.startswith("dredge: The database has 1 table of another application (invoice, …)")
    assert len(refused.stderr.splitlines()) == 1
    assert introspection.find_tables() == {"invoice"}
    assert run("init", "--yes", DATABASE_URL=empty_database).returncode == 0
    assert {"invoice", "tag", "dredge_due"} <= introspection.find_tables()
    world.close()


def test_a_sample_asks_before_it_fills_a_registry_that_holds_something_else(
    world: World, dredge: Dredge
) -> None:
    world.tag("bystander")
    with world.changes() as changes:
        refused = run("sample", "--manifests", "40", answer="n\n", DATABASE_URL=world.url)
        assert refused.returncode == 1
        assert "1 namespace outside the samples" in refused.stderr
    assert not changes
    filled = ("sample", "--manifests", "40", "--objects", "none", "--json")
    assert dredge(*filled, "--yes").code == 0


def test_up_with_a_database_and_no_storage_starts_nothing(world: World, tmp_path: Path) -> None:
    refused = run("up", "--directory", str(tmp_path / "up"), DATABASE_URL=world.url)
    assert refused.returncode == 1
    assert refused.stderr.startswith("dredge: DREDGE_STORAGE is not set")
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "up").exists()


@pytest.mark.parametrize("url", ["", "empty"])
def test_a_worker_without_a_migrated_database_ends_with_one_line(
    empty_database: str, valkey: str, tmp_path: Path, url: str
) -> None:
    told = {"DREDGE_BROKER_URL": valkey, "DREDGE_DATABASE_URL": empty_database if url else ""}
    with celery(told, tmp_path, "worker", "-c", "1") as running:
        assert running.process.wait(PATIENCE_S) == 1
    expected = "The database lacks 0001" if url else "DREDGE_DATABASE_URL: not set"
    said = [line for line in running.log.splitlines() if line.startswith("dredge: ")]
    assert len(said) == 1 and said[0].startswith(f"dredge: {expected}"), running.log
    assert "Traceback" not in running.log
    with database.connection():
        assert introspection.find_tables() == set()
