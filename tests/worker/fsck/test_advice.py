"""What fsck advises for pending work, carried out: the finding is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from model import registry
from model.policy import HOUR_MS
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import make_context
from tests.support.servers.http import Handler, serving
from tests.support.world import World
from tests.worker.fsck.test_fsck import look
from worker.cli import dredge
from worker.jobs.reports import DeletedReports, deliver_reports
from worker.jobs.to_the_end import collect_to_the_end
from worker.settings import Settings
from worker.storage.local import LocalStore

UNKNOWN = "sha256/ff/ff" + "0" * 62


class NothingThere(Handler):
    """A scanner that has no report of any manifest."""

    def do_DELETE(self) -> None:
        self.answer(404)


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


def test_a_referrer_that_waits_for_its_subject_is_judged_when_its_grace_is_over(
    registered: World, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREDGE_REFERRERS", "cascade")
    image = registered.manifest()
    signature = registered.manifest(subject=image.digest)
    registered.tag("$temp-1", manifest=signature, hidden=True, start_ms=registered.now_ms - HOUR_MS)
    registered.tag("v1", manifest=image, ended_ms=1)
    registered.tag("named", manifest=signature, ended_ms=2)
    monkeypatch.setenv("DREDGE_BATCH_MANIFESTS", "1")
    assert run("collect", "--all").exit_code == 0
    assert "manifest-candidate-later" in pending(registered, store)
    assert registered.value("SELECT count(*) FROM manifest WHERE id = %s", (int(signature),)) == 1
    registered.execute("UPDATE tag SET lifetime_start_ms = 0 WHERE hidden")
    registered.execute("UPDATE dredge_manifest_candidate SET due_ms = 0")
    assert run("collect", "--all").exit_code == 0
    assert pending(registered, store).isdisjoint({"manifest-candidate", "manifest-candidate-later"})
    assert registered.rows("SELECT name FROM tag") == [("bystander",)]


def test_what_a_download_left_goes_with_the_second_sweep(registered: World, store: LocalStore) -> None:
    left = registered.blob(placement=None)
    assert "blob-downloading" in pending(registered, store)
    for command in (["sweep"], ["sweep"], ["collect", "--all"]):
        assert run(*command).exit_code == 0
    assert "blob-downloading" not in pending(registered, store)
    assert registered.value("SELECT count(*) FROM imagestorage WHERE id = %s", (int(left),)) == 0
    assert registered.value("SELECT count(*) FROM tag") == 1


def test_a_report_is_owed_until_the_scanner_answers(
    registered: World, store: LocalStore, tmp_path: Path
) -> None:
    dead = registered.tag("scanned", ended_ms=1).manifest
    registered.security(dead)
    with serving(NothingThere) as port:
        settings = Settings(clair_url=f"http://127.0.0.1:{port}")
        context = make_context(tmp_path, settings=settings, policy=settings.policy)
        list(collect_to_the_end(context, registered.repository_id))
        assert registered.rows("SELECT digest FROM dredge_report_debt") == [(dead.digest,)]
        assert "report-debt" in pending(registered, store)
        assert deliver_reports(context, budget_s=PATIENCE_S) == DeletedReports(deleted=1)
    assert "report-debt" not in pending(registered, store)
    assert registered.rows("SELECT name FROM tag") == [("bystander",)]
