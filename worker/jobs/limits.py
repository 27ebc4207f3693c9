"""Wait between batches for the limits that all workers share, and for the database to be healthy."""

from __future__ import annotations

import time
from collections.abc import Callable

from model.controls import limits
from model.controls.health import read_health
from model.controls.limits import Name
from worker import logs
from worker.jobs.pace import Budget
from worker.settings import Settings

log = logs.logger("dredge.limits")

# Seconds between two reads of the database's health; a bad one stops all workers until the next read.
HEALTH_EVERY_S = 5.0
HEALTH_CLOSED_MS = 10_000
LONGEST_SLEEP_S = 1.0


class FleetLimits:
    """The shared limits: `admit` waits before a batch, `charge` counts what it used.

    Without limits in the settings nothing is read or written.  No transaction may be open.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rates: dict[Name, int] = {
            "rows": settings.fleet_rows_per_s,
            "objects": settings.fleet_objects_per_s,
            "bytes": settings.fleet_bytes_per_s,
        }
        self._lag_s, self._sessions = settings.throttle_lag_s, settings.throttle_sessions
        self._clock, self._sleep = clock, sleep
        self._read_s = float("-inf")

    def admit(self, *names: Name, budget: Budget) -> bool:
        """Wait until the limits admit a batch and the database is healthy; False if the budget ends."""
        asked: list[Name] = [name for name in names if self._rates[name]]
        if self._lag_s or self._sessions:
            asked.append("health")
        if not asked:
            return True
        while True:
            if "health" in asked:
                self._look_at_health()
            wait_ms = limits.read_wait_ms(asked)
            if not wait_ms:
                return True
            if not budget:
                return False
            self._sleep(min(wait_ms / 1000, LONGEST_SLEEP_S))

    def charge(self, **amounts: int) -> None:
        """Count what a batch used of each named limit."""
        for name, rate in self._rates.items():
            if rate:
                limits.charge(name, amounts.get(name, 0), per_s=rate)

    def cap(self, name: Name, amount: int) -> int:
        """Return `amount`, but at most what the limit allows in one second."""
        return min(amount, self._rates[name] or amount)

    def _look_at_health(self) -> None:
        if self._clock() - self._read_s < HEALTH_EVERY_S:
            return
        self._read_s = self._clock()
        problem = read_health().find_problem(lag_s=self._lag_s, sessions=self._sessions)
        if problem:
            limits.close("health", for_ms=HEALTH_CLOSED_MS)
            log.warning("limits.throttled", reason=problem)
