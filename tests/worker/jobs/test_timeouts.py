"""A batch that the server ends becomes smaller; where the least is too much, the repository backs off."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.db import connection as database
from model.db import session
from model.errors import StatementTimeout
from tests.support.patience import PATIENCE_S
from tests.support.pipeline import make_context
from tests.support.world import World
from worker.jobs.collect import collect_repository
from worker.jobs.context import JobContext
from worker.jobs.pace import BatchSize

SLOW = """
CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(%s); RETURN OLD; END $$;
CREATE TRIGGER slowly BEFORE DELETE ON tag FOR EACH ROW EXECUTE FUNCTION slowly();
"""


def slow_repository(world: World, monkeypatch: pytest.MonkeyPatch, *, tags: int, seconds: float) -> int:
    """A repository of dead tags, each of which takes so long, in sessions that wait a second."""
    repository = world.repository("slow", namespace=world.namespace("now", window_s=0))
    manifest = world.manifest(repository)
    for n in range(tags):
        world.tag(f"t{n}", repository=repository, manifest=manifest, ended_ms=1000)
    world.execute(SLOW % seconds)
    monkeypatch.setitem(session.OWNED, "statement_timeout", "1s")
    database.configure(world.url)
    return int(repository)


def attempt(context: JobContext, repository_id: int) -> bool:
    """One turn; False where the server ended it."""
    try:
        return not collect_repository(context, repository_id, budget_s=PATIENCE_S).has_more
    except StatementTimeout:
        return False


def test_a_batch_that_takes_too_long_is_tried_again_in_smaller_ones(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bystander = world.tag("bystander")
    slow = slow_repository(world, monkeypatch, tags=120, seconds=0.02)
    context = make_context(tmp_path / "objects")
    assert not attempt(context, slow)
    assert world.value("SELECT count(*) FROM tag WHERE repository_id = %s", (slow,)) == 120
    assert world.value("SELECT last_error FROM dredge_due WHERE repository_id = %s", (slow,)) is None
    assert any(attempt(context, slow) for _ in range(20))
    assert world.rows("SELECT id FROM tag") == [(int(bystander),)]


def test_a_repository_whose_least_batch_takes_too_long_backs_off_and_is_shown(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bystander = world.tag("bystander")
    slow = slow_repository(world, monkeypatch, tags=BatchSize.LEAST, seconds=0.5)
    context = make_context(tmp_path / "objects")
    while context.collect_size.value > BatchSize.LEAST:
        assert not attempt(context, slow)
    assert not attempt(context, slow)
    shown = "SELECT last_error FROM dredge_due WHERE repository_id = %s AND next_try_ms > due_ms"
    assert "canceled a statement" in world.value(shown, (slow,))
    assert world.value("SELECT count(*) FROM tag WHERE repository_id = %s", (slow,)) == BatchSize.LEAST
    assert int(bystander) in world.snapshot()["tag"]
