"""A scan: the next slice of the registry, ranked, enqueued, and the cursor that makes it go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from model.gc.cursor import read_cursor
from model.gc.due.attempt import claim, record_failure
from model.gc.due.note import note_due
from model.policy import HOUR_MS
from tests.support.pipeline import Recorded, make_context, run_to_quiescence
from tests.support.world import Row, World
from worker.jobs import due
from worker.jobs.collect import collect_repository
from worker.jobs.context import JobContext
from worker.jobs.due import enqueue_due
from worker.jobs.scan import CURSOR, Scanned, scan
from worker.settings import Settings

Scan = Callable[[], tuple[Scanned, list[int]]]


@pytest.fixture(autouse=True)
def bystander(world: World) -> None:
    """A repository with a living tag and one that can still be restored."""
    world.tag("bystander")
    world.tag("recoverable", ended_ms=world.now_ms - HOUR_MS)


def scanner(directory: Path, **settings: int) -> Scan:
    """Runs scans with these settings: what each says, and what it enqueued in which order."""
    context = make_context(directory, settings=Settings(**settings))  # type: ignore[arg-type]

    def run() -> tuple[Scanned, list[int]]:
        queue = recorded(context)
        queue.repositories.clear()
        return scan(context), list(queue.repositories)

    return run


def recorded(context: JobContext) -> Recorded:
    assert isinstance(context.queue, Recorded)
    return context.queue


def overdue(world: World, n: int = 0, namespace: Row | None = None) -> int:
    repository = world.repository(namespace=namespace)
    world.tag(repository=repository, ended_ms=1_000_000 + n)
    return int(repository)


def test_what_is_due_is_enqueued_longest_waiting_first(world: World, tmp_path: Path) -> None:
    second, first = overdue(world, 2), overdue(world, 1)
    with world.unchanged():
        scanned, enqueued = scanner(tmp_path)()
    assert enqueued == [first, second] and scanned == Scanned(looked=3, due=2, enqueued=2)


def test_a_registry_without_garbage_is_looked_at_and_left(world: World, tmp_path: Path) -> None:
    scanned, enqueued = scanner(tmp_path)()
    assert scanned == Scanned(looked=1, due=0, enqueued=0) and enqueued == []


def test_each_scan_goes_on_where_the_last_one_ended_and_begins_anew(world: World, tmp_path: Path) -> None:
    repositories = [overdue(world) for _ in range(6)]
    run = scanner(tmp_path, scan_slice=3)
    passes = [run()[1] for _ in range(4)]
    assert passes == [repositories[:2], repositories[2:5], repositories[5:], repositories[:2]]


def test_another_process_goes_on_from_the_same_cursor(world: World, tmp_path: Path) -> None:
    repositories = [overdue(world) for _ in range(4)]
    assert scanner(tmp_path, scan_slice=3)()[1] == repositories[:2]
    assert scanner(tmp_path, scan_slice=100)()[1] == repositories[2:]
    assert read_cursor(CURSOR) == 0


def test_case_51_a_crowded_tenant_leaves_room_for_the_other(world: World, tmp_path: Path) -> None:
    crowd = [overdue(world, n) for n in range(30)]
    small = world.namespace("small")
    few = [overdue(world, 5000 + n, small) for n in range(3)]
    _, enqueued = scanner(tmp_path, scan_limit=10)()
    assert len(enqueued) == 10
    assert [id for id in enqueued if id in few] == few and set(few) <= set(enqueued[:6])
    assert [id for id in enqueued if id not in few] == crowd[:7]


def test_a_scan_that_is_full_does_not_lose_what_it_left_out(world: World, tmp_path: Path) -> None:
    """Its limit is smaller than what one look finds: the rest is found by the next pass at the latest."""
    repositories = {overdue(world, n) for n in range(12)}
    run = scanner(tmp_path, scan_limit=5, scan_slice=4)
    seen: set[int] = set()
    for _ in range(6):
        seen.update(run()[1])
    assert seen == repositories


def test_a_queue_that_is_away_does_not_move_the_cursor(world: World, tmp_path: Path) -> None:
    class Away(Recorded):
        def collect(self, repository_ids: Sequence[int]) -> int:
            raise ConnectionError("the broker is unavailable")

    for _ in range(3):
        overdue(world)
    context = make_context(tmp_path, settings=Settings(scan_slice=2))
    context.__dict__["queue"] = Away()
    with world.changes() as changes, pytest.raises(ConnectionError):
        scan(context)
    assert set(changes.added) == {"dredge_due"} and not changes.changed and read_cursor(CURSOR) == 0
    assert not world.value("SELECT count(queued_ms) FROM dredge_due")


def test_case_52_a_failing_repository_waits_for_its_next_try(world: World, tmp_path: Path) -> None:
    poison, fine = overdue(world), overdue(world)
    claim([poison])
    record_failure(poison, "broken")
    assert scanner(tmp_path)()[1] == [fine]
    world.execute("UPDATE dredge_failure SET retry_ms = 0")
    assert scanner(tmp_path)()[1] == [poison, fine]


def test_case_42_expired_uploads_are_found_wherever_the_cursor_is(world: World, tmp_path: Path) -> None:
    repositories = [overdue(world) for _ in range(4)]
    world.uploaded(world.blob(), expires_ms=world.now_ms - HOUR_MS)
    run = scanner(tmp_path, scan_slice=3)
    assert run()[1] == [*repositories[:2], world.repository_id]
    assert set(run()[1]) == {*repositories[2:], world.repository_id}


def test_a_tag_becomes_due_while_the_registry_is_being_walked(world: World, tmp_path: Path) -> None:
    run = scanner(tmp_path)
    assert run()[1] == []
    world.tag("late", ended_ms=1)
    assert run()[1] == [world.repository_id]


def test_a_repository_that_failed_after_its_last_batch_is_cleared(world: World, tmp_path: Path) -> None:
    claim([world.repository_id])
    record_failure(world.repository_id, "the cache was odd")
    world.execute("UPDATE dredge_failure SET retry_ms = 0")
    with world.unchanged():
        run_to_quiescence(make_context(tmp_path))
    assert not world.rows("SELECT * FROM dredge_failure")


def test_case_69_one_namespace_has_its_share_in_the_queue_and_the_rest_waits_in_the_table(
    world: World, tmp_path: Path
) -> None:
    crowd = [overdue(world, n) for n in range(6)]
    other = overdue(world, 5_000, world.namespace("other"))
    context = make_context(tmp_path, settings=Settings(namespace_share=2))
    queue = recorded(context)
    scan(context)
    assert queue.repositories == [crowd[0], other, crowd[1]]
    assert enqueue_due(context) == 0, "its share is used up"
    for repository_id in crowd[:2]:
        collect_repository(context, repository_id, budget_s=5)
    assert enqueue_due(context) == 2 and queue.repositories[3:] == crowd[2:4]


def test_a_crowd_that_was_found_long_before_does_not_hide_another_namespace(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More rows of the crowd are due than one look takes."""
    monkeypatch.setattr(due, "LIMIT", 3)
    for n in range(6):
        note_due({overdue(world): 1 + n})
    context = make_context(tmp_path, settings=Settings(namespace_share=2))
    enqueue_due(context)
    other = overdue(world, namespace=world.namespace("other"))
    note_due({other: world.now_ms - 1})
    enqueue_due(context)
    assert recorded(context).repositories[-1] == other


def test_a_message_that_was_lost_is_sent_again_by_a_later_scan(world: World, tmp_path: Path) -> None:
    lost = overdue(world)
    context = make_context(tmp_path)
    scan(context)
    recorded(context).repositories.clear()
    assert enqueue_due(context) == 0
    world.execute("UPDATE dredge_due SET queued_ms = 1")
    scan(context)
    assert recorded(context).repositories == [lost]
