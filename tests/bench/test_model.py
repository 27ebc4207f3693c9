"""The executable model: the protocol holds in it, it finds what is planted, and PostgreSQL agrees with it."""

from __future__ import annotations

import os
import sys

import pytest
from click.testing import CliRunner

from bench.model.__main__ import main
from bench.model.bugs import BUGS, Bug
from bench.model.crosscheck import cross_check
from bench.model.explorer import Failed, explore, replay
from bench.model.figures import BUG_LIMIT
from bench.model.postgres import Server
from bench.model.stories import STORIES
from bench.model.story import Story
from tests.support.databases import Databases

SEED = int(os.environ.get("SEED", "1"))
DEPTH = int(os.environ.get("DEPTH", "150"))
COMPARED = int(os.environ.get("COMPARED", "200"))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_no_schedule_of_the_story_breaks_the_protocol(story: Story) -> None:
    done = explore(story, limit=DEPTH, seed=SEED)
    sys.stdout.write(f"{done} seed={SEED}\n")
    assert done.failure == ""
    assert done.schedules == DEPTH


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found_and_its_schedule_shows_it_again(bug: Bug) -> None:
    found = explore(bug.planted(), limit=BUG_LIMIT, seed=1)
    assert found.failure
    with pytest.raises(Failed) as again:
        replay(bug.planted(), found.schedule)
    assert again.value.why == found.failure


def test_the_model_does_what_postgresql_does(databases: Databases) -> None:
    url = databases.empty()
    server = Server(url)
    try:
        sys.stdout.write(f"seed={SEED} schedules={COMPARED}\n")
        assert cross_check(server, schedules=COMPARED, seed=SEED) == []
    finally:
        server.close()
        databases.drop(url)


def test_a_model_that_keeps_no_lock_on_a_row_that_no_longer_fits_diverges(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison can fail: PostgreSQL keeps the lock of a row that it waited for and then left out."""
    from bench.model.database import Cell, Database, Running, Transaction
    from bench.model.operations import Lock

    real = Database._lock

    def forgetful(self: Database, transaction: Transaction, statement: Lock) -> Running:
        found = yield from real(self, transaction, statement)
        kept = {row["id"] for row in found}
        for cell in [c for c in transaction.locked if c.row and c.row["id"] not in kept]:
            drop(cell, transaction)
        return found

    def drop(cell: Cell, transaction: Transaction) -> None:
        if cell.owner is not transaction:
            cell.holders.pop(transaction, None)

    monkeypatch.setattr(Database, "_lock", forgetful)
    url = databases.empty()
    server = Server(url)
    try:
        assert cross_check(server, schedules=100, seed=1)
    finally:
        server.close()
        databases.drop(url)


def test_a_failure_is_replayed_by_its_seed_and_schedule() -> None:
    bug = BUGS[0]
    found = explore(bug.planted(), limit=BUG_LIMIT, seed=1)
    schedule = ",".join(map(str, found.schedule))
    shown = CliRunner().invoke(main, [bug.story, "--schedule", schedule, "--bug", bug.rule])
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[-1] == found.failure
    calm = CliRunner().invoke(main, [bug.story, "--schedule", schedule])
    assert calm.output.splitlines()[-1] == "nothing is wrong"
