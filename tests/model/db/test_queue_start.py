"""Where the claims of a queue begin: behind what is gone, and at the front again soon enough."""

from __future__ import annotations

import random

import pytest

from model.db.queue_start import BACK_S, FRONT, LONGEST_S, QueueStart, QueueStarts


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def begun(clock: Clock, *, front_s: float = LONGEST_S) -> QueueStart:
    """A start whose turn from the front took so long that the next one is a minute later."""
    start = QueueStart(clock)
    assert start.begin() == FRONT
    clock.s += front_s
    start.reach((5, 1))
    return start


def test_a_turn_goes_on_at_the_first_row_that_its_last_claim_has_found(clock: Clock) -> None:
    start = begun(clock)
    assert start.go_on() == (5, 1)
    start.reach((5, 100))
    assert start.go_on() == (5, 100)


def test_a_turn_begins_where_the_process_was_ten_seconds_ago(clock: Clock) -> None:
    start = begun(clock)
    clock.s += BACK_S
    assert start.begin() == (5, 1)
    for n in range(2, 6):
        start.reach((5, n))
        clock.s += BACK_S / 2
    assert start.begin() == (5, 4)
    assert start.go_on() == (5, 4)


def test_a_claim_that_failed_has_passed_over_nothing(clock: Clock) -> None:
    start = QueueStart(clock)
    assert [start.begin(), start.go_on(), start.begin()] == [FRONT] * 3


def test_a_queue_that_is_read_quickly_is_read_from_the_front_again_soon(clock: Clock) -> None:
    start = begun(clock, front_s=0.01)
    clock.s += 0.9
    assert start.go_on() == (5, 1)
    clock.s += 0.2
    assert start.front_is_due and start.go_on() == FRONT


def test_a_turn_that_finds_nothing_goes_on_where_the_last_one_was(clock: Clock) -> None:
    start = begun(clock)
    clock.s += 2 * BACK_S
    start.reach((7, 1))
    clock.s += 1
    assert start.begin() == (5, 1)
    start.reach(None)
    assert start.go_on() == (7, 1)


def test_a_row_that_comes_late_is_not_passed_over_twice(clock: Clock) -> None:
    start = begun(clock)
    for n in range(2, 20):
        clock.s += 2
        start.reach((5, n))
    start.reach((4, 7))
    assert start.go_on() == (4, 7)
    assert start.begin() <= (4, 7)


@pytest.mark.parametrize("seed", range(20))
def test_no_row_is_passed_over_for_longer_than_a_minute(clock: Clock, seed: int) -> None:
    """A queue of which a row may be hidden for a while, and turns of any length and at any time."""
    choose = random.Random(seed)
    start = QueueStart(clock)
    queue = {(n, n) for n in range(500)}
    hidden = {key: clock.s + choose.uniform(0, 40) for key in choose.sample(sorted(queue), 60)}
    seen: dict[tuple[int, int], float] = {}
    while queue:
        key = start.begin()
        for _ in range(choose.randint(1, 5)):
            clock.s += choose.choice((0.001, 0.1, 3.0))
            due = sorted(row for row in queue if row >= key and hidden.get(row, 0) <= clock.s)
            for row in queue:
                if hidden.get(row, 0) <= clock.s:
                    seen.setdefault(row, clock.s)
            start.reach(due[0] if due else None)
            queue -= {*due[: choose.randint(1, 20)]}
            key = start.go_on()
        late = [row for row in queue if clock.s - seen.get(row, clock.s) > 10 * LONGEST_S]
        assert not late, f"seed {seed}: {late} were passed over"
        clock.s += choose.choice((0.1, 1.0, 9.0))


def test_each_queue_has_its_own_start_until_all_are_cleared(clock: Clock) -> None:
    starts = QueueStarts()
    starts["a"].reach((9, 9))
    assert starts["a"].go_on() >= FRONT and starts["b"].begin() == FRONT and starts["a"] is starts["a"]
    starts.clear()
    assert starts["a"].begin() == FRONT
