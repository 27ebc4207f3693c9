"""One item that always fails is set aside, and the others go on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from model.db.connection import connection
from model.errors import DatabaseUnavailable
from model.gc.failing import NO_END
from model.gc.poison import attempt, list_poison, retry
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import make_context
from tests.support.world import World
from worker.cli import dredge
from worker.jobs.context import JobContext
from worker.jobs.isolation import attempt_alone
from worker.jobs.review import review
from worker.jobs.sweep import sweep
from worker.settings import Settings

CANDIDATE = (
    "INSERT INTO dredge_blob_candidate (blob_id, created_ms) SELECT id, 1 FROM imagestorage WHERE id = %s"
)


@pytest.fixture
def context(tmp_path: Path) -> JobContext:
    return make_context(tmp_path, settings=Settings(review_batch=200))


def refuse(world: World, table: str, column: str, value: object) -> None:
    """A trigger of somebody else's refuses the deletion of one row."""
    world.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE EXCEPTION 'somebody else needs it'; END$$;"
        f"CREATE TRIGGER refuse BEFORE DELETE ON {table} FOR EACH ROW"
        f" WHEN (OLD.{column} = '{value}') EXECUTE FUNCTION refuse()"
    )


def test_case_67_a_blob_that_makes_the_review_fail_stops_no_other(world: World, context: JobContext) -> None:
    kept = world.blob()
    world.tag("kept", manifest=world.manifest(blobs=[kept]))
    blobs = [world.blob() for _ in range(150)]
    for blob in blobs:
        world.execute(CANDIDATE, (int(blob),))
    bad = blobs[70]
    refuse(world, "imagestorage", "id", int(bad))
    assert review(context, budget_s=PATIENCE_S).blobs == len(blobs) - 1
    assert world.rows("SELECT id FROM imagestorage ORDER BY id") == [(int(kept),), (int(bad),)]
    (poisoned,) = list_poison(limit=5)
    assert (poisoned.stage, poisoned.key, poisoned.tries) == ("review", str(int(bad)), 1)
    assert "somebody else needs it" in poisoned.last_error
    assert review(context, budget_s=PATIENCE_S).blobs == 0 and list_poison(limit=5) == [poisoned], (
        "not before its time"
    )
    world.execute("DROP TRIGGER refuse ON imagestorage")
    assert retry("review", str(int(bad))) == 1
    assert review(context, budget_s=PATIENCE_S).blobs == 1
    assert world.rows("SELECT id FROM imagestorage") == [(int(kept),)] and not list_poison(limit=5)


def test_a_blob_that_was_attempted_by_a_process_that_died_waits_while_others_go_on(
    world: World, context: JobContext
) -> None:
    killer, fine = world.blob(), world.blob()
    for blob in (killer, fine):
        world.execute(CANDIDATE, (int(blob),))
    attempt("review", str(int(killer)))
    assert review(context, budget_s=PATIENCE_S).blobs == 1
    assert world.rows("SELECT id FROM imagestorage") == [(int(killer),)]
    assert [each.last_error for each in list_poison(limit=5)] == [NO_END]


def test_tries_back_off_and_an_outage_is_nobodys_fault(world: World) -> None:
    def unavailable() -> None:
        raise DatabaseUnavailable

    waits = []
    for tries in (1, 2, 3):
        with pytest.raises(DatabaseUnavailable):
            attempt_alone("review", "1", unavailable)
        (each,) = list_poison(limit=5)
        waits.append(round((each.due_ms - world.now_ms) / 1000, -1))
        assert each.tries == tries
    assert waits[0] < waits[1] < waits[2]


def test_what_is_set_aside_is_shown_and_tried_again_by_command(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREDGE_DATABASE_URL", world.url)
    monkeypatch.setenv("DREDGE_STORAGE", str(tmp_path))
    with connection():
        attempt("relay", "17")
    world.insert("dredge_report_debt", digest="d", created_ms=1, due_ms=2**62, tries=3)
    shown = json.loads(CliRunner().invoke(dredge, ["status", "--json"]).stdout)["set_aside"]
    assert [(each["stage"], each["key"], each["tries"]) for each in shown] == [("relay", "17", 1)]
    assert "dredge retry relay" in CliRunner().invoke(dredge, ["check"]).stdout
    assert json.loads(CliRunner().invoke(dredge, ["retry", "--json"]).stdout) == {"due": 2}
    assert world.value("SELECT due_ms FROM dredge_report_debt") < 2**62
    assert CliRunner().invoke(dredge, ["retry", "nosuch"]).exit_code == 2


def test_case_67_a_row_that_makes_the_sweep_fail_stops_no_other(world: World, tmp_path: Path) -> None:
    context = make_context(tmp_path, settings=Settings(sweep_delay_s=0))
    media_type = world.lookup("mediatype", "text/plain")
    kept = world.label(world.tag("kept").manifest)
    loose = [
        world.insert("label", uuid=str(n), key="k", value="v", media_type_id=media_type, source_type_id=1)
        for n in range(9)
    ]
    refuse(world, "label", "id", loose[4])
    for _ in range(3):
        sweep(context, budget_s=PATIENCE_S)
    assert world.rows("SELECT id FROM label ORDER BY id") == [(int(kept),), (loose[4],)]
    (poisoned,) = list_poison(limit=5)
    assert (poisoned.stage, poisoned.key, poisoned.tries) == ("sweep", f"label/{loose[4]}", 1)
    world.execute("DROP TRIGGER refuse ON label")
    retry("sweep")
    sweep(context, budget_s=PATIENCE_S)
    sweep(context, budget_s=PATIENCE_S)
    assert world.rows("SELECT id FROM label") == [(int(kept),)] and not list_poison(limit=5)
