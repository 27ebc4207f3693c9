"""List repositories that are due, and explain why each still waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.controls.breaker import REGISTRY, OpenBreaker, list_open
from model.controls.gate import outside_of_window
from model.controls.holds import Hold, list_holds
from model.db.clock import now_ms
from model.gc.due.note import NEVER_MS
from model.gc.find import Due, rank
from model.gc.inspect.due import Standing, find_attempted, find_soon, read_standings
from model.human import counted
from model.policy import Policy
from model.repository import Repository
from worker.jobs.find import find_due
from worker.jobs.plan import SLICE


@dataclass(frozen=True)
class WaitingRepository:
    """A repository that is due from `due_ms` on; `waiting_ms` is negative before that.

    `next_try_ms` is None if the repository only waits for its turn.
    """

    repository: str
    due_ms: int
    waiting_ms: int
    attempts: int
    next_try_ms: int | None
    last_error: str | None
    why: str


@dataclass(frozen=True)
class Stops:
    """The stops, holds and open breakers, read once for all repositories."""

    everywhere: str
    holds: Sequence[Hold]
    breakers: Sequence[OpenBreaker]
    share: int
    now_ms: int

    @classmethod
    def read(cls, policy: Policy, *, share: int) -> Stops:
        """Read what stops collections now; at most `share` repositories of a namespace wait in the queue."""
        moment = now_ms()
        return cls(outside_of_window(policy, now_ms=moment), list_holds(), list_open(), share, moment)


def list_waiting(
    policy: Policy, *, share: int, limit: int, within_ms: int = 0
) -> tuple[list[WaitingRepository], bool]:
    """Return at most `limit` repositories that are due, or will be soon, and whether there are more.

    Longest waiting first, alternating namespaces.  Examines the whole registry; only reads.
    """
    moment = now_ms()
    found = find_attempted(now_ms=moment, limit=limit + 1)
    if within_ms:
        found += find_soon(policy=policy, now_ms=moment, within_ms=within_ms, limit=limit + 1)
    position = 0
    while True:
        part, position, _ = find_due(policy, after=position, slice=SLICE, limit=max(limit + 1, SLICE))
        found = rank([*found, *part], limit=limit + 1)
        if not position:
            break
    return explain_waiting(found[:limit], Stops.read(policy, share=share)), len(found) > limit


def explain_waiting(found: Sequence[Due], stops: Stops) -> list[WaitingRepository]:
    """Explain why each of these repositories waits; leaves out one that no longer exists."""
    due_ms = {due.repository_id: due.due_ms for due in found}
    return [
        WaitingRepository(
            repository=standing.repository,
            due_ms=due_ms[standing.repository_id],
            waiting_ms=stops.now_ms - due_ms[standing.repository_id],
            attempts=standing.attempts,
            next_try_ms=_next_try_ms(standing, stops.now_ms),
            last_error=standing.last_error,
            why=_why(standing, due_ms[standing.repository_id], stops),
        )
        for standing in read_standings(list(due_ms))
    ]


def find_stops(*, namespace_id: int, repository_id: int, stops: Stops) -> list[str]:
    """Say in words which holds and open breakers stop a repository."""
    holds = [
        f"{hold.target} is on hold: {hold.reason}"
        for hold in stops.holds
        if hold.covers(namespace_id=namespace_id, repository_id=repository_id)
    ]
    breakers = [
        f"the breaker of {breaker.namespace} is open: {breaker.reason}"
        for breaker in stops.breakers
        if breaker.namespace_id in (namespace_id, REGISTRY)
    ]
    return holds + breakers


def explain_stops(where: Repository, policy: Policy) -> list[str]:
    """Say in words what stops the collection of a repository now, and its last failure.  Only reads."""
    stops = Stops.read(policy, share=0)
    found = find_stops(namespace_id=where.namespace_id, repository_id=where.id, stops=stops)
    if stops.everywhere:
        found.append(stops.everywhere)
    failed = [each for each in read_standings([where.id]) if each.last_error]
    return found + [f"failed {counted(each.attempts, 'time')}: {each.last_error}" for each in failed]


def _next_try_ms(standing: Standing, now_ms: int) -> int | None:
    next_try_ms = standing.next_try_ms or 0
    return next_try_ms if now_ms < next_try_ms < NEVER_MS else None


def _why(standing: Standing, due_ms: int, stops: Stops) -> str:
    stopped = find_stops(
        namespace_id=standing.namespace_id, repository_id=standing.repository_id, stops=stops
    )
    if stopped:
        return stopped[0]
    if due_ms > stops.now_ms:
        return "its recovery window has not closed"
    if _next_try_ms(standing, stops.now_ms) is not None:
        if standing.last_error:
            return f"failed {counted(standing.attempts, 'time')}: {standing.last_error}"
        return "is being collected" if standing.attempts else "could not be collected and was put off"
    if stops.everywhere:
        return stops.everywhere
    if standing.queued_ms is not None:
        return "waits in the queue"
    if standing.queued_of_namespace >= stops.share:
        return f"its namespace has its share of {stops.share} in the queue"
    return "the next scan enqueues it"
