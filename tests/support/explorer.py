"""A race explorer: run every interleaving of a few real operations on a real PostgreSQL.

    harness = RaceHarness(world, context)                 # saves the world's rows and objects
    explorer = Explorer(harness, limit=200, preemptions=2, seed=1)
    report = explorer.explore(Race("case 5", {"collect": ..., "push": ...}, claims=...))

A *schedule* is a list of actor numbers: the actor that runs at each step.  In the first schedule every
operation runs to its end.  Each further one differs from an earlier one at one place, where another actor
runs first.  Only places are tried whose step conflicts with a later step of the other actor (same table, and
one of the two changes or locks it); other steps commute.  Schedules with fewer preemptions come first, since
most races need one or two; the seed breaks ties.  `limit` and `preemptions` bound the search; a `Report`
tells whether it was complete.

After each schedule `harness.verify` checks the database, the store and the results of the operations.  A
failure prints the schedule and its steps; `explorer.replay(race, schedule)` runs it again.  `REPLAY=0,0,1,…`
in the environment does the same for a whole test.
"""

from __future__ import annotations

import heapq
import os
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg2

from tests.support.explorer_steps import Actor, Outcome, Scheduler, Step

Schedule = tuple[int, ...]


@dataclass(frozen=True)
class Race:
    """Operations that run at once.  `check` gets their outcomes by name, and raises if one is wrong.

    `telling`, if given, is the first schedule, as pairs (actor, text): the actor runs until its next step
    contains the text, or to its end if the text is empty.
    """

    name: str
    actors: Mapping[str, Callable[[], Any]]
    check: Callable[[Mapping[str, Outcome]], None] = lambda outcomes: None
    telling: Sequence[tuple[str, str]] = ()


class RaceState(Protocol):
    """The state on which races run: `tests.support.race_harness.RaceHarness`."""

    url: str

    def reset(self) -> None:
        """Restore the state from before the first run."""

    def verify(self, race: Race, outcomes: Mapping[str, Outcome]) -> None:
        """Raise if an invariant is broken or an operation's result was wrong."""


@dataclass
class Trace:
    """What happened at each place: the actors that could run, the one that ran, and its step."""

    ready: list[tuple[int, ...]] = field(default_factory=list)
    chosen: list[int] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def preemptions(self, upto: int) -> int:
        """Return the number of preemptions before place `upto`: changes from an actor that could go on."""
        pairs = zip(self.chosen[:upto], self.chosen[1:upto], self.ready[1:upto], strict=False)
        return sum(before != now and before in ready for before, now, ready in pairs)

    def show(self, names: Sequence[str]) -> str:
        """Return the steps in order, as text."""
        width = max(map(len, names))
        lines = [f"  {names[n]:<{width}}  {step}" for n, step in zip(self.chosen, self.steps, strict=True)]
        return "\n".join(lines)


@dataclass
class Report:
    """The extent of an exploration."""

    race: str
    schedules: int = 0
    steps: int = 0
    longest: int = 0
    blocked: int = 0
    complete: bool = False
    outcomes: set[tuple[str, ...]] = field(default_factory=set)


class Explorer:
    """Runs races on one state, bounded and repeatable."""

    def __init__(self, state: RaceState, *, limit: int, preemptions: int = 2, seed: int = 1) -> None:
        self.state, self.limit, self.bound = state, limit, preemptions
        self._random = random.Random(seed)
        self.seed = seed
        self._monitor = psycopg2.connect(state.url)
        self._monitor.autocommit = True

    def close(self) -> None:
        """Close the connection that reads locks."""
        self._monitor.close()

    def explore(self, race: Race) -> Report:
        """Run schedules until none is left or the limit is reached.  Raises at the first that fails."""
        report = Report(race.name)
        if replay := os.environ.get("REPLAY"):
            self._run(race, tuple(map(int, replay.split(","))), report)
            return report
        frontier: list[tuple[int, float, Schedule]] = [(0, 0.0, ())]
        known: set[Schedule] = {()}
        if race.telling:
            trace = self._run(race, (), report, race.telling)
            known |= set(later := [schedule for _, schedule in self._alternatives(trace, 0)])
            frontier += [(1, self._random.random(), schedule) for schedule in later]
            heapq.heapify(frontier)
        while frontier and report.schedules < self.limit:
            _, _, prefix = heapq.heappop(frontier)
            trace = self._run(race, prefix, report)
            for cost, schedule in self._alternatives(trace, len(prefix)):
                if schedule not in known and cost <= self.bound:
                    known.add(schedule)
                    heapq.heappush(frontier, (cost, self._random.random(), schedule))
        report.complete = not frontier
        return report

    def replay(self, race: Race, schedule: Schedule) -> None:
        """Run one schedule again."""
        self._run(race, schedule, Report(race.name))

    def _alternatives(self, trace: Trace, start: int) -> list[tuple[int, Schedule]]:
        """Yield schedules in which another actor runs first at one place of the trace."""
        found = []
        for place in range(start, len(trace.chosen)):
            for other in trace.ready[place]:
                if other != trace.chosen[place] and self._matters(trace, place, other):
                    schedule = (*trace.chosen[:place], other)
                    before = trace.chosen[place - 1] if place else other
                    preempts = before != other and before in trace.ready[place]
                    found.append((trace.preemptions(place) + preempts, schedule))
        return found

    def _matters(self, trace: Trace, place: int, other: int) -> bool:
        step = trace.steps[place]
        later = zip(trace.chosen[place + 1 :], trace.steps[place + 1 :], strict=True)
        return any(actor == other and step.conflicts(then) for actor, then in later)

    def _run(
        self, race: Race, prefix: Schedule, report: Report, telling: Sequence[tuple[str, str]] = ()
    ) -> Trace:
        self.state.reset()
        names = list(race.actors)
        actors = [Actor(name, work) for name, work in race.actors.items()]
        scheduler, trace = Scheduler(actors, self._monitor), Trace()
        try:
            try:
                self._play(scheduler, trace, prefix, report, deque(telling))
            finally:
                scheduler.abandon()
            outcomes = {actor.name: actor.outcome or Outcome() for actor in actors}
            self.state.verify(race, outcomes)
        except BaseException as error:
            shown = ",".join(map(str, trace.chosen))
            endings = "\n".join(f"  {a.name} ended with {a.outcome}" for a in actors)
            raise AssertionError(
                f"{race.name}: {type(error).__name__}: {error}\nseed {self.seed}, schedule REPLAY={shown}\n"
                f"{trace.show(names)}\n{endings}"
            ) from error
        report.schedules += 1
        report.steps += len(trace.chosen)
        report.longest = max(report.longest, len(trace.chosen))
        report.outcomes.add(tuple(_ending(outcome) for outcome in outcomes.values()))
        return trace

    def _play(
        self,
        scheduler: Scheduler,
        trace: Trace,
        prefix: Schedule,
        report: Report,
        telling: deque[tuple[str, str]],
    ) -> None:
        scheduler.begin()
        last = 0
        while True:
            ready = scheduler.ready()
            if not ready:
                if all(actor.outcome is not None for actor in scheduler.actors):
                    return
                scheduler.wait_for_the_server()
                continue
            place = len(trace.chosen)
            wanted = prefix[place] if place < len(prefix) else _told(scheduler, telling, last)
            last = wanted if wanted in ready else ready[0]
            step = scheduler.actors[last].pending
            assert step is not None
            trace.ready.append(tuple(ready))
            trace.chosen.append(last)
            trace.steps.append(step)
            scheduler.advance(last)
            report.blocked += any(actor.blocked for actor in scheduler.actors)


def _told(scheduler: Scheduler, telling: deque[tuple[str, str]], last: int) -> int:
    """Return the next actor of a schedule in words; at its end, the same actor as before."""
    names = [actor.name for actor in scheduler.actors]
    while telling:
        number, until = names.index(telling[0][0]), telling[0][1]
        step = scheduler.actors[number].pending
        if step is not None and not (until and until in step.what):
            return number
        telling.popleft()
    return last


def _ending(outcome: Outcome) -> str:
    return "yes" if outcome.ok else type(outcome.error).__name__
