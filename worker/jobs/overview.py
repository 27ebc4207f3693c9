"""Read the state of the collection, for the command line, the metrics and the status page."""

from __future__ import annotations

from dataclasses import dataclass

from model.controls.breaker import OpenBreaker, list_open
from model.controls.health import DatabaseHealth, read_health
from model.controls.holds import Hold, list_holds
from model.controls.limits import LimitState, list_limits
from model.db.clock import now_ms
from model.gc.find import rank
from model.gc.inspect.due import find_soon
from model.gc.inspect.quarantine import QuarantineState, read_quarantine
from model.gc.inspect.status import (
    Failing,
    Freed,
    Totals,
    Waiting,
    read_failures,
    read_freed,
    read_totals,
    read_waiting,
)
from model.gc.inspect.troubles import Trouble, read_troubles
from model.gc.inspect.vacuum import IndexState, TableState, read_index_states, read_table_states
from model.gc.poison import Poisoned, count_poison, list_poison
from model.gc.storage_identity import RecordedStorage, find_suspended
from model.periodic import LastRun, list_periodic
from model.policy import HOUR_MS, Policy
from worker.jobs.find import find_due

# Maximum repositories that are examined to count those with garbage.
LOOK = 5_000
SHOWN = 20
HORIZONS_S = (3_600, 86_400)


@dataclass(frozen=True)
class WindowState:
    """The configured time window, or an empty text; it next opens or closes at `changes_ms`."""

    text: str
    is_open: bool
    changes_ms: int | None


@dataclass(frozen=True)
class Overview:
    """The work that waits, its stops, its failures and the work done, at one moment; times in milliseconds.

    `repositories_due` counts those found among the first `repositories_looked_at`.  `last_hour` is the work
    done in the last hour; the remaining times are computed from it.  `freed` covers the last `hours`.
    `troubles` are failures other than those of collections.
    """

    now_ms: int
    hours: int
    repositories_due: int
    repositories_looked_at: int
    whole_registry: bool
    oldest_overdue_ms: int
    waiting: Waiting
    quarantine: QuarantineState
    last_hour: Totals
    holds: list[Hold]
    breakers: list[OpenBreaker]
    window: WindowState
    limits: list[LimitState]
    health: DatabaseHealth
    freed: list[Freed]
    failures: list[Failing]
    poison: list[Poisoned]
    poisoned: dict[str, int]
    due_within: dict[int, int]
    tables: list[TableState]
    indexes: list[IndexState]
    suspended: list[RecordedStorage]
    troubles: list[Trouble]
    periodic: list[LastRun]

    @property
    def collect_left_ms(self) -> int | None:
        """Return how long the due repositories take at the rate of the last hour, or None if unknown."""
        return _left_ms(self.repositories_due, self.last_hour.repositories)

    @property
    def erase_left_ms(self) -> int | None:
        """Return how long the waiting objects take at the rate of the last hour, or None if unknown."""
        return _left_ms(self.waiting.tombstones, self.last_hour.objects)


def read_overview(policy: Policy, *, hours: int = 24) -> Overview:
    """Read the overview.  `freed` and `failures` list at most 20 entries of the last `hours`, worst first."""
    moment = now_ms()
    found, position, looked = find_due(policy, after=0, slice=LOOK, limit=LOOK)
    due = rank(found, limit=LOOK)
    return Overview(
        now_ms=moment,
        hours=hours,
        repositories_due=len(due),
        repositories_looked_at=looked,
        whole_registry=not position,
        oldest_overdue_ms=max((moment - each.due_ms for each in due), default=0),
        waiting=read_waiting(),
        quarantine=read_quarantine(),
        suspended=find_suspended(),
        last_hour=read_totals(since_ms=moment - HOUR_MS),
        holds=list_holds(),
        breakers=list_open(),
        window=WindowState(
            policy.window.text, policy.window.is_open(moment), policy.window.next_change_ms(moment)
        ),
        limits=list_limits(),
        health=read_health(),
        freed=read_freed(since_ms=moment - hours * HOUR_MS, limit=SHOWN),
        failures=read_failures(limit=SHOWN),
        poison=list_poison(limit=SHOWN),
        poisoned=count_poison(),
        due_within={
            seconds: len(find_soon(policy=policy, now_ms=moment, within_ms=seconds * 1000, limit=LOOK))
            for seconds in HORIZONS_S
        },
        tables=read_table_states(),
        indexes=read_index_states(),
        troubles=read_troubles(limit=SHOWN),
        periodic=list_periodic(),
    )


def _left_ms(waiting: int, done_in_an_hour: int) -> int | None:
    """Return the time left in milliseconds, or None if nothing was done in the last hour."""
    return None if not done_in_an_hour else waiting * HOUR_MS // done_in_an_hour
