"""Explore schedules: first all with few preemptions, then random ones with random priorities.

In the first schedule every actor runs to its end.  Each further schedule lets another actor run at one place
of an earlier schedule.  When none of these is left, or half of `limit` is used up, the other schedules are
drawn at random or by priorities: the actor with the highest priority runs, and at a few random places it gets
the lowest priority.  The seed determines all schedules.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from bench.model.run import Broken, Pick, Run
from bench.model.story import Story
from bench.model.verdict import verify

PREEMPTIONS = 3
CHANGES = 3
LENGTH = 60
_KEPT = 20_000


class Failed(AssertionError):
    """A schedule broke an invariant."""

    def __init__(self, why: str, schedule: tuple[int, ...]) -> None:
        super().__init__(f"{why}; SCHEDULE={','.join(map(str, schedule))}")
        self.why, self.schedule = why, schedule


@dataclass(frozen=True)
class Explored:
    """The number of schedules of a story that were run, and the first that failed."""

    story: str
    schedules: int
    steps: int
    failure: str = ""
    schedule: tuple[int, ...] = ()


def go_on(ready: list[int], last: int) -> int:
    """Choose the last actor again while it can go on."""
    return last if last in ready else ready[0]


def by_priority(dice: random.Random) -> Pick:
    """Choose the actor with the highest priority; at `CHANGES` random steps it gets the lowest."""
    priorities: dict[int, float] = {}
    changes = {dice.randrange(LENGTH) for _ in range(CHANGES)}
    step = 0

    def pick(ready: list[int], last: int) -> int:
        nonlocal step
        for number in ready:
            if number not in priorities:
                priorities[number] = dice.random()
        chosen = max(ready, key=priorities.__getitem__)
        if step in changes:
            priorities[chosen] = -float(step)
            chosen = max(ready, key=priorities.__getitem__)
        step += 1
        return chosen

    return pick


def by_chance(dice: random.Random) -> Pick:
    """Choose the last actor again in three of four steps, otherwise any actor."""

    def pick(ready: list[int], last: int) -> int:
        return last if last in ready and dice.random() < 0.75 else dice.choice(ready)

    return pick


def play(story: Story, choices: Sequence[int], pick: Pick) -> Run:
    """Run one schedule and verify it."""
    run, database = story.run(story.rules)
    try:
        run.play(choices, pick)
        verify(run, database, story.rules)
    except Broken as error:
        raise Failed(str(error), tuple(chosen for _, chosen in run.trace)) from error
    return run


def explore(story: Story, *, limit: int, seed: int) -> Explored:
    """Run at most `limit` schedules; stop at the first that breaks an invariant."""
    schedules = steps = 0
    frontier: deque[tuple[int, tuple[int, ...]]] = deque([(0, ())])
    dice = random.Random(seed)
    while schedules < limit:
        systematic = bool(frontier) and schedules < limit // 2
        drawn = by_chance if schedules % 2 else by_priority
        cost, choices = frontier.popleft() if systematic else (PREEMPTIONS, ())
        try:
            trace = play(story, choices, go_on if systematic else drawn(dice)).trace
        except Failed as failed:
            return Explored(story.name, schedules + 1, steps, failed.why, failed.schedule)
        schedules, steps = schedules + 1, steps + len(trace)
        if systematic and cost < PREEMPTIONS and len(frontier) < _KEPT:
            _branch(frontier, trace, len(choices), cost)
    return Explored(story.name, schedules, steps)


def _branch(
    frontier: deque[tuple[int, tuple[int, ...]]], trace: list[tuple[list[int], int]], start: int, cost: int
) -> None:
    chosen = tuple(number for _, number in trace)
    for place in range(start, len(trace)):
        ready, taken = trace[place]
        preempts = place and chosen[place - 1] in ready
        for other in ready:
            if other != taken:
                frontier.append((cost + bool(preempts), (*chosen[:place], other)))


def replay(story: Story, schedule: Sequence[int]) -> None:
    """Run one schedule again.  Raises the error of the run."""
    play(story, schedule, go_on)
