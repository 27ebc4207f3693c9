"""The clock of a race: an actor moves the clocks of the database and of the processes ahead together."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.explorer_steps import NAMES, Step, stop_before
from tests.support.world import World
from worker.storage import base

# The passing of time may matter to every table.
EVERYTHING = frozenset({*NAMES, "object store", "redis", "advisory lock"})
_CLOCK = "clock_timestamp()"
_AHEAD = f"({_CLOCK} + (SELECT ahead FROM saved.clock))"


def ahead(sql: str) -> str:
    """Return the statement with the race's clock instead of the server's."""
    return sql.replace(_CLOCK, _AHEAD)


class RaceClock:
    """How far the clocks are ahead of real time; the database reads it from the schema `saved`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.ahead_s = 0.0
        world.execute("CREATE SCHEMA IF NOT EXISTS saved")
        world.execute("CREATE TABLE IF NOT EXISTS saved.clock AS SELECT interval '0' AS ahead")

    def reset(self) -> None:
        """Return to real time."""
        if self.ahead_s:
            self.advance(-self.ahead_s)

    def advance(self, seconds: float) -> None:
        """Let time pass for the database and for every process."""
        self.ahead_s += seconds
        self._world.execute("UPDATE saved.clock SET ahead = make_interval(secs => %s)", (self.ahead_s,))

    def clock_s(self) -> float:
        """Return the time that replaces `worker.storage.base.clock_s`."""
        return base.clock_s() + self.ahead_s

    def passes(self, *seconds: float) -> Callable[[], None]:
        """Make an actor that moves the clocks ahead by each of these numbers of seconds, one per step."""

        def work() -> None:
            for each in seconds:
                stop_before(Step(f"{each:g} s pass", EVERYTHING, True))
                self.advance(each)

        return work
