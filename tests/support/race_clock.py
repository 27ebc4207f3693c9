"""The clock of a race: the database's and the processes' clocks run ahead together when an actor says so."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.explorer_steps import NAMES, Step, stop_before
from tests.support.world import World
from worker.storage import base

# What the passing of time may matter to: everything.
EVERYTHING = frozenset({*NAMES, "object store", "redis", "advisory lock"})
_CLOCK = "clock_timestamp()"
_AHEAD = f"({_CLOCK} + (SELECT ahead FROM saved.clock))"


def ahead(sql: str) -> str:
    """The statement with the race's clock instead of the server's."""
    return sql.replace(_CLOCK, _AHEAD)


class RaceClock:
    """How far the clocks are ahead of real time; the schema `saved` holds it for the database."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ahead_s = 0.0
        world.execute("CREATE SCHEMA IF NOT EXISTS saved")
        world.execute("CREATE TABLE IF NOT EXISTS saved.clock AS SELECT interval '0' AS ahead")

    def reset(self) -> None:
        """Real time again."""
        if self.ahead_s:
            self.advance(-self.ahead_s)

    def advance(self, seconds: float) -> None:
        """Let time pass for the database and for every process."""
        self.ahead_s += seconds
        self._world.execute("UPDATE saved.clock SET ahead = make_interval(secs => %s)", (self.ahead_s,))

    def clock_s(self) -> float:
        """What a process reads for `worker.storage.base.clock_s`."""
        return base.clock_s() + self.ahead_s

    def passes(self, *seconds: float) -> Callable[[], None]:
        """An actor: time passes, at one moment of the race for each number of seconds."""

        def work() -> None:
            for each in seconds:
                stop_before(Step(f"{each:g} s pass", EVERYTHING, True))
                self.advance(each)

        return work
