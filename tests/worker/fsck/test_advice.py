"""What fsck advises for pending work, carried out: the finding is gone."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from model import registry
from tests.support.world import World
from tests.worker.fsck.test_fsck import look
from worker.cli import dredge
from worker.storage.local import LocalStore

UNKNOWN = "sha256/ff/ff" + "0" * 62


@pytest.fixture
def registered(world: World, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> World:
    """A registry that the command line works on."""
    monkeypatch.setenv("DREDGE_DATABASE_URL", world.url)
    monkeypatch.setenv("DREDGE_STORAGE", str(store.root))
    monkeypatch.setenv("DREDGE_SWEEP_DELAY_S", "0")
    monkeypatch.setenv("DREDGE_SWEEP_SHARE", "0")
    store.root.mkdir(exist_ok=True)
    world.tag("bystander")
    return world


def run(*arguments: str) -> Result:
    return CliRunner().invoke(dredge, arguments)


def pending(world: World, store: LocalStore) -> set[str]:
    return {finding.name for finding in look(world, store).pending}


def test_a_marked_repository_comes_back_or_is_purged_when_its_grace_is_over(
    registered: World, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered.repository("doomed")
    registry.delete_repository("acme/doomed")
    assert pending(registered, store) >= {"repository-marked", "event-unpublished"}
    assert run("repository", "restore", "acme/doomed").exit_code == 0
    assert "repository-marked" not in pending(registered, store)
    registry.delete_repository("acme/doomed")
    monkeypatch.setenv("DREDGE_PURGE_GRACE_S", "0")
    assert run("collect", "--all").exit_code == 0
    assert "repository-marked" not in pending(registered, store)
    assert registered.rows("SELECT name FROM repository") == [("app",)]


def test_an_unknown_object_goes_with_the_sweep_after_next(registered: World, store: LocalStore) -> None:
    store.write(UNKNOWN, [b"unknown"])
    registered.execute("INSERT INTO dredge_orphan VALUES ('object', %s, 1)", (f"local_us:{UNKNOWN}",))
    assert "object-unknown" in pending(registered, store)
    for command in (["sweep"], ["sweep"], ["collect", "--all"]):
        assert run(*command).exit_code == 0
    assert "object-unknown" not in pending(registered, store)


def test_a_repository_that_failed_is_tried_again(registered: World, store: LocalStore) -> None:
    registered.execute(
        "INSERT INTO dredge_due (repository_id, attempts, last_error) VALUES (%s, 1, 'it failed')",
        (registered.repository_id,),
    )
    assert "repository-failing" in pending(registered, store)
    assert "it failed" in run("status").output
    assert run("collect", "--all").exit_code == 0
    assert "repository-failing" not in pending(registered, store)
