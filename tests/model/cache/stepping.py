"""Explores every interleaving of a few actors, one step at a time, each actor in a thread of its own.

An actor is a function that gets `step`, and calls it before everything that others can see. The
explorer lets exactly one actor run between two of its steps, first in one order, then, run by run,
in every other: a depth-first walk over "who goes next", each schedule from a fresh start.

    for schedule in explore(scenario): ...     # scenario(): (actors, check) for one run
    for schedule in sample(scenario, 300, seed=1): ...

A schedule is a tuple of actor numbers and can be replayed: `run_schedule(actors, schedule)`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence

from tests.support.patience import PATIENCE_S

Step = Callable[[], None]
Actor = Callable[[Step], None]
Scenario = Callable[[], tuple[Sequence[Actor], Callable[[tuple[int, ...]], None]]]


class _Running:
    """One actor's thread, which waits at every step until it is told to go on."""

    def __init__(self, actor: Actor) -> None:
        # Plain locks as gates: a release lets one acquire pass, and costs a microsecond.
        self._go, self._stopped = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._stopped.acquire()
        self.done = False
        self._error: BaseException | None = None
        threading.Thread(target=self._run, args=(actor,), daemon=True).start()
        self._wait()

    def _run(self, actor: Actor) -> None:
        try:
            actor(self._step)
        except BaseException as error:  # noqa: BLE001  handed to the explorer's thread
            self._error = error
        self.done = True
        self._stopped.release()

    def _step(self) -> None:
        self._stopped.release()
        self._go.acquire()

    def _wait(self) -> None:
        assert self._stopped.acquire(timeout=PATIENCE_S), "an actor neither ended nor came to a step"
        if self._error is not None:
            raise self._error

    def advance(self) -> None:
        """Run to the next step, or to the end."""
        self._go.release()
        self._wait()


def run_schedule(
    actors: Sequence[Actor], wanted: Sequence[int], chance: random.Random | None = None
) -> list[tuple[int, list[int]]]:
    """Run the actors, taking turns as `wanted`, then by `chance`, else lowest first.

    Returns each turn with those that could have had it.
    """
    running = [_Running(actor) for actor in actors]
    taken: list[tuple[int, list[int]]] = []
    while True:
        able = [number for number, actor in enumerate(running) if not actor.done]
        if not able:
            return taken
        if len(taken) < len(wanted):  # noqa: SIM108
            turn = wanted[len(taken)]
        else:
            turn = chance.choice(able) if chance else able[0]
        taken.append((turn, able))
        running[turn].advance()


def explore(scenario: Scenario) -> Iterator[tuple[int, ...]]:
    """Every schedule once, after its check has passed."""
    wanted: list[int] | None = []
    while wanted is not None:
        actors, check = scenario()
        taken = run_schedule(actors, wanted)
        schedule = tuple(turn for turn, _ in taken)
        check(schedule)
        yield schedule
        wanted = _next(taken)


def sample(scenario: Scenario, count: int, *, seed: int) -> Iterator[tuple[int, ...]]:
    """`count` schedules by chance, the same ones for the same seed."""
    chance = random.Random(seed)
    for _ in range(count):
        actors, check = scenario()
        schedule = tuple(turn for turn, _ in run_schedule(actors, (), chance))
        check(schedule)
        yield schedule


def _next(taken: list[tuple[int, list[int]]]) -> list[int] | None:
    """The prefix of the next schedule: the last turn that somebody later in the order could have had."""
    for position in range(len(taken) - 1, -1, -1):
        turn, able = taken[position]
        later = [number for number in able if number > turn]
        if later:
            return [*(one for one, _ in taken[:position]), later[0]]
    return None
