"""Send one request per object, but not for every object if the store is down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from worker.storage.answers import TOO_LATE, Known, Problem

T = TypeVar("T")
PARALLEL = 8


def spread(items: Sequence[T]) -> list[T]:
    """Return the first, the last and the middle item, or fewer if there are fewer."""
    return list(dict.fromkeys(items[n] for n in (0, -1, len(items) // 2))) if items else []


def one_by_one(items: Sequence[T], ask: Callable[[T], Problem | None]) -> dict[T, Problem | None]:
    """Send a request for each item, in parallel.  Maps each item to its problem, or None if it succeeded.

    Tries at most three items first.  If none of them gets an answer of its own, because the store is down or
    refuses everything, sends nothing for the others.
    """
    found: dict[T, Problem | None] = {}
    problem: Problem | None = None
    for item in spread(items):
        problem = found[item] = ask(item)
        if not _stops(problem):
            break
    rest = [item for item in items if item not in found]
    if problem and _stops(problem):
        unsent = problem if problem is TOO_LATE else Problem(Known.UNSENT, problem.message)
        return found | dict.fromkeys(rest, unsent)
    if rest:
        with ThreadPoolExecutor(min(PARALLEL, len(rest))) as pool:
            found |= dict(zip(rest, pool.map(ask, rest), strict=True))
    return found


def _stops(problem: Problem | None) -> bool:
    return problem is not None and (problem.everywhere or problem.unknown)
