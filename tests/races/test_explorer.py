"""The explorer itself: it knows what a statement touches, and finds every order that matters, repeatably."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from model.db.connection import execute, fetch_one, transaction
from tests.support.explorer import Explorer, Race
from tests.support.explorer_steps import Outcome, statement_step
from tests.support.race_harness import RaceHarness
from tests.support.world import World


@pytest.mark.parametrize(
    ("sql", "tables", "changes"),
    [
        ('SELECT n.enabled FROM "user" n WHERE id = 1', {"user"}, False),
        ('UPDATE "user" SET enabled = false', {"user"}, True),
        ("SELECT id FROM tag t JOIN manifest m ON true", {"tag", "manifest"}, False),
        ("SELECT id FROM quotarepositorysize FOR UPDATE", {"quotarepositorysize", "repository"}, True),
        ("INSERT INTO dredge_tombstone (path) VALUES ('x')", {"dredge_tombstone"}, True),
        ("SELECT pg_advisory_xact_lock(1)", {"advisory lock"}, True),
    ],
)
def test_a_statement_is_known_by_its_tables(sql: str, tables: set[str], changes: bool) -> None:
    step = statement_step(sql)
    assert step.tables >= tables and step.changes is changes


def test_writing_a_row_that_refers_to_another_conflicts_with_writing_that(world: World) -> None:
    linking = statement_step("INSERT INTO manifestblob (blob_id) VALUES (1)")
    assert linking.conflicts(statement_step("DELETE FROM imagestorage WHERE id = 1"))
    assert not linking.conflicts(statement_step("DELETE FROM dredge_event"))
    reading = statement_step("SELECT FROM manifestblob")
    assert not reading.conflicts(reading)


@pytest.fixture
def state(world: World) -> Iterator[RaceHarness]:
    with RaceHarness(world) as harness:
        world.tag("bystander")
        world.execute("INSERT INTO dredge_cursor VALUES ('a', 0, 0), ('b', 0, 0)")
        harness.save()
        yield harness


def read_and_write(name: str, lock: str = "") -> Callable[[], None]:
    def work() -> None:
        with transaction():
            row = fetch_one(f"SELECT position FROM dredge_cursor WHERE name = %s{lock}", (name,))
            execute("UPDATE dredge_cursor SET position = %s WHERE name = %s", (row.position + 1, name))

    return work


def explore(state: RaceHarness, race: Race, limit: int = 100, seed: int = 1) -> tuple[int, bool]:
    explorer = Explorer(state, limit=limit, preemptions=4, seed=seed)
    try:
        report = explorer.explore(race)
    finally:
        explorer.close()
    return report.schedules, report.complete


def both_counted(state: RaceHarness) -> Callable[[object], None]:
    def check(outcomes: object) -> None:
        found = state.world.value("SELECT position FROM dredge_cursor WHERE name = 'a'")
        assert found == 2, "an update was lost"

    return check


def test_a_lost_update_is_found_and_its_schedule_repeats_it(
    state: RaceHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    actors = {"first": read_and_write("a"), "second": read_and_write("a")}
    race = Race("lost update", actors, both_counted(state))
    with pytest.raises(AssertionError, match="an update was lost") as failure:
        explore(state, race)
    schedule = str(failure.value).partition("REPLAY=")[2].partition("\n")[0]
    monkeypatch.setenv("REPLAY", schedule)
    with pytest.raises(AssertionError, match=f"REPLAY={schedule}\n"):
        explore(state, race)


def test_with_a_lock_every_order_is_fine_and_a_wait_is_a_step(state: RaceHarness) -> None:
    actors = {n: read_and_write("a", " FOR UPDATE") for n in ("first", "second")}
    schedules, complete = explore(state, Race("locked", actors, both_counted(state)))
    assert complete and schedules > 3


def test_orders_that_cannot_matter_are_not_tried(state: RaceHarness) -> None:
    def nothing_shared() -> None:
        execute("UPDATE dredge_failure SET failures = 1")

    actors = {"first": read_and_write("a"), "second": nothing_shared}
    assert explore(state, Race("strangers", actors)) == (1, True)


def test_a_deadlock_is_broken_by_the_server_and_ends_the_schedule(state: RaceHarness) -> None:
    def lock(*names: str) -> Callable[[], None]:
        def work() -> None:
            with transaction():
                for name in names:
                    fetch_one("SELECT name FROM dredge_cursor WHERE name = %s FOR UPDATE", (name,))

        return work

    endings: set[str] = set()

    def note(outcomes: dict[str, Outcome]) -> None:
        endings.update(type(outcome.error).__name__ for outcome in outcomes.values())

    race = Race("deadlock", {"first": lock("a", "b"), "second": lock("b", "a")}, note)  # type: ignore[arg-type]
    explore(state, race)
    assert endings == {"NoneType", "Contended"}
