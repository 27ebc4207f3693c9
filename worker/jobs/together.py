"""Collect several small repositories in one transaction, or each alone if that fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from model.errors import DatabaseUnavailable, StatementTimeout
from model.gc.collect import collect_batches
from model.gc.due.attempt import claim
from model.gc.due.turn import claim_with_others
from model.gc.due.waiting import mark_queued
from worker import logs
from worker.jobs.collect import Collected, collect_claimed, finish, publish_removals
from worker.jobs.context import JobContext
from worker.jobs.pace import Budget

log = logs.logger("dredge.collect")


@dataclass(frozen=True)
class CollectOutcome:
    """One repository's turn, or the error that ended it."""

    repository_id: int
    collected: Collected = field(default_factory=Collected)
    error: Exception | None = None


def collect_with_others(context: JobContext, repository_id: int, *, budget_s: float) -> list[CollectOutcome]:
    """Collect a repository together with others that are due, in one turn; its own outcome comes first.

    New ones of other namespaces have a transaction of their own before a busy namespace.  The tasks of the
    others then find nothing left to do.  `enqueue_unfinished` is for what has more garbage than fits into the
    turn.  Raises `DatabaseUnavailable`; any other error is in the outcome of its repository.
    """
    budget = Budget(budget_s)
    start = context.starts["collect"]
    turn = claim_with_others(
        repository_id, others=context.settings.batch_repositories - 1, start=start.begin()
    )
    if turn.reached is not None:
        start.reach(turn.reached)
    outcomes = [
        outcome
        for claimed in (turn.first, turn.others)
        for outcome in collect_together(context, claimed, budget_s=budget.left_s)
    ]
    outcomes.sort(key=lambda outcome: outcome.repository_id != repository_id)
    return outcomes or [CollectOutcome(repository_id)]


def enqueue_unfinished(context: JobContext, outcomes: Sequence[CollectOutcome]) -> None:
    """Enqueue each repository of a turn that has more garbage.  Raises `BrokerUnavailable`.

    Also one that was taken along gets a message of its own: other turns would take it again and again.
    """
    unfinished = [outcome.repository_id for outcome in outcomes if outcome.collected.has_more]
    context.queue.collect(unfinished)
    mark_queued(unfinished)


def collect_many(
    context: JobContext, repository_ids: Sequence[int], *, budget_s: float
) -> Iterator[list[CollectOutcome]]:
    """Collect these repositories, as many at once as the settings allow.  Yields a list per turn."""
    size = context.settings.batch_repositories
    for start in range(0, len(repository_ids), size):
        claimed = claim(repository_ids[start : start + size])
        yield collect_together(context, claimed, budget_s=budget_s)


def collect_together(context: JobContext, claimed: Sequence[int], *, budget_s: float) -> list[CollectOutcome]:
    """Collect repositories until none has garbage or the budget is used up.

    The caller has counted their attempts.  A batch that fails is rolled back, and each of its repositories
    is collected alone, so that a broken one fails alone.  Outcomes are in the given order.
    """
    if len(claimed) < 2:
        return [_alone(context, repository_id, budget_s) for repository_id in claimed]
    budget = Budget(budget_s)
    turns = {repository_id: Collected(has_more=True) for repository_id in claimed}
    pending = list(claimed)
    try:
        for size in context.deleting(context.together_size, budget):
            batches = collect_batches(pending, policy=context.policy, limit=size)
            context.limits.charge(rows=sum(batch.rows for batch in batches))
            done = dict(zip(pending, batches, strict=True))
            for repository_id, batch in done.items():
                turns[repository_id] += Collected.of(batch)
            publish_removals(context, done)
            pending = [repository_id for repository_id in pending if turns[repository_id].has_more]
            # A large one that used up the limit of a batch comes last in the next.
            pending.sort(key=lambda repository_id: turns[repository_id].tags)
            if not pending:
                break
    except DatabaseUnavailable:
        context.together_size.shrink()
        raise
    except Exception as error:  # noqa: BLE001  each repository is then tried alone, and its own error is kept
        if isinstance(error, StatementTimeout):
            context.together_size.shrink()
        log.info("batch.divided", repositories=len(pending), error=str(error), kind=type(error).__name__)
        return _divided(context, turns, pending, budget_s)
    finish(context, turns)
    log.info(
        "repositories.collected", repositories=len(turns), manifests=sum(t.manifests for t in turns.values())
    )
    return [CollectOutcome(*turn) for turn in turns.items()]


def collect_alone(context: JobContext, repository_id: int, *, budget_s: float) -> CollectOutcome:
    """Count an attempt at one repository and collect it; an error is in the outcome.

    Raises `DatabaseUnavailable`.
    """
    claim([repository_id])
    return _alone(context, repository_id, budget_s)


def _divided(
    context: JobContext, turns: dict[int, Collected], pending: Sequence[int], budget_s: float
) -> list[CollectOutcome]:
    """Collect the repositories of a failed batch one at a time."""
    finish(context, {id: turn for id, turn in turns.items() if id not in pending})
    outcomes = {id: CollectOutcome(id, turn) for id, turn in turns.items()}
    for repository_id in pending:
        outcomes[repository_id] = _alone(context, repository_id, budget_s / len(pending))
    return list(outcomes.values())


def _alone(context: JobContext, repository_id: int, budget_s: float) -> CollectOutcome:
    try:
        return CollectOutcome(repository_id, collect_claimed(context, repository_id, budget_s=budget_s))
    except DatabaseUnavailable:
        raise
    except Exception as error:  # noqa: BLE001  one repository's error must not end the turn of the others
        return CollectOutcome(repository_id, error=error)
