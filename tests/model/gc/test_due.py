"""The row of a due repository: who writes it, how attempts back off, and what clears its failure."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from model import registry
from model.db.clock import now_ms
from model.db.connection import transaction
from model.gc.collect import collect_batch
from model.gc.due.attempt import claim, is_settled, record_failure, release, succeed
from model.gc.due.note import NEVER_MS, forget_collected, forget_gone, note_due
from model.gc.due.turn import claim_with_others
from model.gc.due.waiting import UNQUEUED, find_waiting, mark_queued
from model.gc.failing import NO_END
from model.gc.inspect.status import read_failures
from model.policy import DEFAULT, HOUR_MS
from tests.support.world import World


@pytest.fixture(autouse=True)
def bystander(world: World) -> None:
    """A living tag, and a due repository that nobody touches."""
    world.tag("bystander")


def row(world: World, repository_id: int) -> tuple[int, int, int, str | None]:
    """due_ms, attempts, next_try_ms and last_error."""
    (found,) = world.rows(
        "SELECT due_ms, attempts, next_try_ms, last_error FROM dredge_due WHERE repository_id = %s",
        (int(repository_id),),
    )
    return tuple(found)


def test_deleting_a_tag_notes_when_it_leaves_its_window_in_the_same_transaction(world: World) -> None:
    owner = world.namespace(window_s=3600)
    repository = world.repository(namespace=owner)
    world.tag("old", repository=repository)
    registry.delete_tag(int(repository), "old", policy=DEFAULT)
    ended = world.value("SELECT lifetime_end_ms FROM tag WHERE name = 'old'")
    assert row(world, repository) == (ended + HOUR_MS, 0, ended + HOUR_MS, None)


def test_a_deletion_that_is_rolled_back_notes_nothing(world: World) -> None:
    world.tag("old")
    with pytest.raises(ZeroDivisionError), transaction():
        registry.delete_tag(world.repository_id, "old", policy=DEFAULT)
        raise ZeroDivisionError
    assert not world.rows("SELECT repository_id FROM dredge_due")
    assert world.value("SELECT lifetime_end_ms FROM tag WHERE name = 'old'") is None


def test_a_collection_leaves_the_instant_of_the_next_one(world: World) -> None:
    world.tag("gone", ended_ms=1)
    world.tag("later", ended_ms=world.now_ms - HOUR_MS)
    window_ms = world.default_namespace.window_s * 1000
    claim([world.repository_id])
    collect_batch(world.repository_id, policy=DEFAULT, limit=10)
    due_ms = world.now_ms - HOUR_MS + window_ms
    assert row(world, world.repository_id) == (due_ms, 0, due_ms, None)
    assert is_settled(world.repository_id)


def test_what_has_nothing_more_is_never_due_until_somebody_notes_it(world: World) -> None:
    claim([world.repository_id])
    collect_batch(world.repository_id, policy=DEFAULT, limit=10)
    assert row(world, world.repository_id)[0] == NEVER_MS
    note_due({world.repository_id: 5})
    assert row(world, world.repository_id) == (5, 0, 5, None)


def test_an_attempt_is_counted_before_the_work_and_one_that_never_ended_is_shown(world: World) -> None:
    claim([world.repository_id])
    assert row(world, world.repository_id)[1] == 1
    assert not read_failures(limit=5), "it may be running"
    claim([world.repository_id])
    (failing,) = read_failures(limit=5)
    assert (failing.failures, failing.last_error) == (2, NO_END)


def test_an_attempt_whose_next_try_has_passed_is_shown(world: World) -> None:
    claim([world.repository_id])
    world.execute("UPDATE dredge_due SET next_try_ms = 1")
    assert [failing.last_error for failing in read_failures(limit=5)] == [NO_END]


def test_an_error_says_why_and_new_garbage_does_not_make_the_next_try_prompter(world: World) -> None:
    claim([world.repository_id])
    record_failure(world.repository_id, "odd manifest")
    next_try_ms = row(world, world.repository_id)[2]
    assert next_try_ms > now_ms() + 25_000
    note_due({world.repository_id: 5})
    assert row(world, world.repository_id) == (5, 1, next_try_ms, "odd manifest")


def test_an_attempt_that_was_released_counts_for_nothing(world: World) -> None:
    claim([world.repository_id])
    release([world.repository_id])
    _, attempts, next_try_ms, error = row(world, world.repository_id)
    assert (attempts, error) == (0, None) and next_try_ms <= now_ms()


def noted(world: World, count: int) -> list[int]:
    made = [int(world.repository()) for _ in range(count)]
    for n, repository_id in enumerate(made):
        note_due({repository_id: 1 + n})
    return made


def claimed(leader: int, *, others: int) -> set[int]:
    turn = claim_with_others(leader, others=others)
    return {*turn.first, *turn.others}


def test_others_that_are_due_are_claimed_with_one_longest_waiting_first(world: World) -> None:
    due = noted(world, 4)
    later = int(world.repository())
    note_due({later: world.now_ms + HOUR_MS})
    assert claimed(world.repository_id, others=2) == {world.repository_id, *due[:2]}
    assert claimed(due[3], others=5) == {due[3], due[2]}


def test_those_without_a_message_are_taken_first_and_those_with_one_if_there_are_no_others(
    world: World,
) -> None:
    queued, *waiting = noted(world, 4)
    mark_queued([queued])
    assert claimed(world.repository_id, others=2) == {world.repository_id, *waiting[:2]}
    assert claimed(waiting[2], others=2) == {waiting[2], queued}


def test_one_repository_of_another_namespace_does_not_wait_behind_all_of_a_busy_one(world: World) -> None:
    leader, *busy = noted(world, 40)
    mark_queued(busy[:20])
    singles = [int(world.repository(namespace=world.namespace())) for _ in range(2)]
    for single in singles:
        note_due({single: world.now_ms - 1})
    mark_queued(singles)
    assert claimed(leader, others=10) == {leader, *singles, *busy[20:28]}
    assert {due for due in busy if is_settled(due)} == set(busy[20:28])


def test_what_came_due_just_now_in_another_namespace_is_taken_first_and_needs_no_message(
    world: World,
) -> None:
    leader, *busy = noted(world, 12)
    old, new, newest = (int(world.repository(namespace=world.namespace())) for _ in range(3))
    note_due({old: world.now_ms - HOUR_MS, new: world.now_ms - 2, newest: world.now_ms - 1})
    turn = claim_with_others(leader, others=6)
    assert set(turn.first) == {new, newest}
    assert set(turn.others) == {leader, *busy[:4]}
    assert row(world, old)[1] == 0, "it has waited long enough for a message"
    assert claim_with_others(old, others=3).first == [], "it is not new"


def test_a_large_one_that_came_due_long_ago_is_not_new_after_its_turn(world: World) -> None:
    leader, *busy = noted(world, 12)
    large = int(world.repository(namespace=world.namespace()))
    note_due({large: world.now_ms - HOUR_MS})
    claim([large])
    succeed([large])
    assert row(world, large)[2] > world.now_ms - HOUR_MS
    assert claimed(leader, others=6) == {leader, *busy[:6]}


def test_what_had_more_than_fits_into_a_turn_is_taken_by_its_own_task_only(world: World) -> None:
    (small,) = noted(world, 1)
    large = int(world.repository(namespace=world.namespace()))
    note_due({large: 1})
    claim([large])
    succeed([large], unfinished=[large])
    assert claimed(small, others=5) == {small}
    mark_queued([large])
    assert claimed(world.repository_id, others=5) == {world.repository_id}
    assert claimed(large, others=5) == {large}
    succeed([large])
    another = int(world.repository())
    assert claimed(another, others=5) == {another, large}


def test_where_no_namespace_has_most_of_the_turn_all_are_collected_together(world: World) -> None:
    singles = [int(world.repository(namespace=world.namespace())) for _ in range(4)]
    note_due(dict.fromkeys(singles, world.now_ms - 1))
    turn = claim_with_others(singles[0], others=3)
    assert (turn.first, set(turn.others)) == ([], set(singles))


def test_finding_what_is_due_reads_no_row_that_is_due_later(world: World) -> None:
    world.execute(
        "INSERT INTO dredge_due (repository_id, due_ms, next_try_ms) SELECT g, %s, %s"
        " FROM generate_series(1000000, 1005000) g",
        (world.now_ms + HOUR_MS, world.now_ms + HOUR_MS),
    )
    world.execute("ANALYZE dredge_due")
    plan = world.rows(
        "EXPLAIN " + UNQUEUED % {"full": "'{}'::int[]", "limit": 100, "from_ms": 0, "from_id": 0}
    )
    assert any("Index Cond: ((next_try_ms <= " in line for (line,) in plan)
    (due,) = noted(world, 1)
    assert find_waiting(limit=10, share=10) == [due]


def test_a_full_queue_gets_no_further_messages(world: World) -> None:
    due = noted(world, 5)
    mark_queued(due[:2])
    assert find_waiting(limit=4, share=100) == due[2:4]
    assert find_waiting(limit=2, share=100) == []


def test_a_namespace_without_a_message_gets_one_in_a_full_queue_and_behind_thousands_of_others(
    world: World,
) -> None:
    (queued,) = noted(world, 1)
    mark_queued([queued])
    owner = world.value("SELECT namespace_id FROM dredge_due WHERE repository_id = %s", (queued,))
    world.execute(
        "INSERT INTO dredge_due (repository_id, namespace_id, due_ms, next_try_ms)"
        " SELECT g, %s, 1, 1 FROM generate_series(1000000, 1001100) g",
        (owner,),
    )
    single = int(world.repository(namespace=world.namespace()))
    note_due({single: world.now_ms - 1})
    assert find_waiting(limit=1, share=100) == [single]


def test_a_repository_that_was_attempted_before_is_claimed_alone(world: World) -> None:
    poison, fine = noted(world, 2)
    claim([poison])
    world.execute("UPDATE dredge_due SET next_try_ms = 1 WHERE repository_id = %s", (poison,))
    assert claimed(world.repository_id, others=5) == {world.repository_id, fine}


def test_a_row_that_somebody_holds_is_stepped_over(world: World) -> None:
    held, free = noted(world, 2)
    world.execute("BEGIN")
    world.rows("SELECT repository_id FROM dredge_due WHERE repository_id = %s FOR UPDATE", (held,))
    try:
        assert claimed(world.repository_id, others=5) == {world.repository_id, free}
    finally:
        world.execute("ROLLBACK")


def test_rows_that_say_nothing_and_rows_of_gone_repositories_go(world: World) -> None:
    kept, quiet = noted(world, 2)
    world.execute("UPDATE dredge_due SET next_try_ms = %s WHERE repository_id = %s", (NEVER_MS, quiet))
    world.execute("INSERT INTO dredge_due (repository_id, due_ms) VALUES (424242, 1)")
    assert forget_collected(limit=10) == 1 and forget_gone(limit=10) == 1
    assert ids(world.rows("SELECT repository_id FROM dredge_due")) == [kept]


def ids(rows: Sequence[tuple[int]]) -> list[int]:
    return [repository_id for (repository_id,) in rows]


def test_an_end_beyond_all_numbers_is_no_obstacle(world: World) -> None:
    world.tag("endless", ended_ms=2**63 - 1)
    world.tag("gone", ended_ms=1)
    claim([world.repository_id])
    assert collect_batch(world.repository_id, policy=DEFAULT, limit=10).tags == 1
    assert row(world, world.repository_id)[0] == NEVER_MS


def test_case_68_who_went_with_a_collection_that_died_goes_alone_at_once(world: World) -> None:
    """One of them may be the killer, and the others need not wait for its next try."""
    leader, *others = [int(world.repository()) for _ in range(4)]
    note_due(dict.fromkeys((leader, *others), 1))
    assert claimed(leader, others=3) == {leader, *others}
    assert find_waiting(limit=10, share=10) == []
    assert claimed(leader, others=3) == {leader}, "its process died, and its message came again"
    assert find_waiting(limit=10, share=10) == others
    for other in others:
        assert claimed(other, others=3) == {other}
    assert find_waiting(limit=10, share=10) == []


def test_who_was_collected_with_one_that_fails_later_is_not_due_for_it(world: World) -> None:
    leader, other = int(world.repository()), int(world.repository())
    note_due({leader: 1, other: 1})
    claim_with_others(leader, others=1)
    record_failure(other, "its own error")
    claim_with_others(leader, others=1)
    assert find_waiting(limit=10, share=10) == []
