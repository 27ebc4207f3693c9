"""Run each stage of the pipeline in this process until it has nothing left to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.errors import RegistryError
from model.purge.namespace import NamespacePurge
from worker.jobs.collect import Collected, collect_repository
from worker.jobs.context import JobContext
from worker.jobs.erase import erase
from worker.jobs.erase_outcome import Cleared
from worker.jobs.purge import PurgedRepository, find_purges, purge_namespace, purge_repository
from worker.jobs.review import Retired, review
from worker.jobs.together import CollectOutcome, collect_alone, collect_many

TURN_S = 5.0


def collect_to_the_end(context: JobContext, repository_id: int) -> Iterator[Collected]:
    """Collect one repository until it has no garbage.  Yields a value after each turn of five seconds."""
    while True:
        collected = collect_repository(context, repository_id, budget_s=TURN_S)
        yield collected
        if not collected.has_more:
            return


def collect_many_to_the_end(context: JobContext, repository_ids: Sequence[int]) -> Iterator[CollectOutcome]:
    """Collect these repositories until they have no garbage.  Yields an outcome per turn and repository.

    Small repositories share transactions.  One that fails does not stop the others: its outcome has the
    error.
    """
    for outcomes in collect_many(context, repository_ids, budget_s=TURN_S):
        for outcome in outcomes:
            yield outcome
            while outcome.collected.has_more:
                outcome = collect_alone(context, outcome.repository_id, budget_s=TURN_S)
                yield outcome


def purge_to_the_end(context: JobContext) -> Iterator[PurgedRepository | NamespacePurge | RegistryError]:
    """Purge every deleted repository and namespace whose grace is over.  Yields a value per turn.

    The value is the error if a purge fails; the others go on.
    """
    while True:
        repository_ids, namespace_ids = find_purges(context)
        worked = False
        for repository_id in repository_ids:
            for turn in _purge_repository(context, repository_id):
                worked |= not isinstance(turn, RegistryError) and turn.rows > 0
                yield turn
        for namespace_id in namespace_ids:
            try:
                purged = purge_namespace(context, namespace_id, budget_s=TURN_S)
                worked |= purged.rows > 0
                yield purged
            except RegistryError as error:
                yield error
        if not worked:
            return


def _purge_repository(context: JobContext, repository_id: int) -> Iterator[PurgedRepository | RegistryError]:
    try:
        while True:
            purged = purge_repository(context, repository_id, budget_s=TURN_S)
            yield purged
            if not purged.has_more:
                return
    except RegistryError as error:
        yield error


def review_to_the_end(context: JobContext) -> Iterator[Retired]:
    """Review until no candidate is left.  Yields a value per turn."""
    while True:
        retired = review(context, budget_s=TURN_S)
        yield retired
        if not retired.has_more:
            return


def erase_to_the_end(context: JobContext) -> Iterator[Cleared]:
    """Erase until no tombstone is due.  Yields a value per turn."""
    while True:
        cleared = erase(context, budget_s=TURN_S)
        yield cleared
        if not cleared.has_more:
            return
