"""The whole pipeline in this process, to its end."""

from __future__ import annotations

from collections.abc import Iterator

from worker.jobs.collect import Collected, collect_repository
from worker.jobs.context import JobContext
from worker.jobs.erase import Cleared, erase
from worker.jobs.review import Retired, review

TURN_S = 5.0


def collect_to_the_end(context: JobContext, repository_id: int) -> Iterator[Collected]:
    """Collect one repository until it has no garbage; one value for each turn of five seconds."""
    while True:
        collected = collect_repository(context, repository_id, budget_s=TURN_S)
        yield collected
        if not collected.has_more:
            return


def review_to_the_end(context: JobContext) -> Iterator[Retired]:
    """Review until no candidate is left; one value for each turn."""
    while True:
        retired = review(context, budget_s=TURN_S)
        yield retired
        if not retired.has_more:
            return


def erase_to_the_end(context: JobContext) -> Iterator[Cleared]:
    """Erase until no tombstone is due; one value for each turn."""
    while True:
        cleared = erase(context, budget_s=TURN_S)
        yield cleared
        if not cleared.has_more:
            return
