"""Collect one repository in batches, until no garbage is left or the time of the turn is used up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from model.counts import Counts
from model.errors import Contended, RegistryError, StatementTimeout
from model.gc.collect import Batch, collect_batch
from model.gc.due.attempt import claim, record_failure, release, succeed
from model.gc.tags import BEGINNING_MS
from worker import logs, metrics
from worker.former_names import COLLECTED, with_former_names
from worker.jobs.context import JobContext
from worker.jobs.forget import Removed, forget_removed
from worker.jobs.pace import Budget

log = logs.logger("dredge.collect")

# A batch that met a conflict (the recovery window changed, a deadlock) is tried so many times at once.
ATTEMPTS = 3

# A repository that is on hold, in a disabled namespace or locked by another worker is tried again after this
# delay, or earlier if a scan finds that it may be collected.
PUT_OFF_MS = 600_000


@dataclass(frozen=True)
class Collected(Counts):
    """The rows that one turn removed from a repository; `stopped` is the reason if it had to stop early."""

    tags: int = 0
    manifests: int = 0
    rows: int = 0
    blob_candidates: int = 0
    batches: int = 0
    has_more: bool = False
    stopped: str = ""

    @classmethod
    def of(cls, batch: Batch) -> Collected:
        """Count the rows of one batch."""
        return cls(
            tags=batch.tags,
            manifests=len(batch.manifests),
            rows=batch.rows,
            blob_candidates=batch.blob_candidates,
            batches=int(batch.scope is not None),
            has_more=batch.has_more,
            stopped=batch.stopped,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the result of the task, in which `blob_candidates` also has its former name."""
        return with_former_names(asdict(self), COLLECTED)


def collect_repository(context: JobContext, repository_id: int, *, budget_s: float) -> Collected:
    """Collect until the repository has no garbage or the budget is used up (then `has_more` is True).

    Counts the attempt first.  Every batch is a transaction of its own; its rows are dropped from the cache
    right after the commit.  If a batch fails, records the error with a backoff and raises it.  Idempotent;
    of two concurrent calls one does nothing.
    """
    claim([repository_id])
    return collect_claimed(context, repository_id, budget_s=budget_s)


def collect_claimed(context: JobContext, repository_id: int, *, budget_s: float) -> Collected:
    """Do the work of `collect_repository` after the caller has counted the attempt."""
    try:
        collected = _collect(context, repository_id, Budget(budget_s))
    except Contended:
        release([repository_id])
        raise
    except StatementTimeout as error:
        # A smaller batch may finish in time.  If the smallest one does not, the repository backs off.
        if context.collect_size.shrink():
            release([repository_id])
        else:
            record_failure(repository_id, str(error))
        raise
    except RegistryError as error:
        if error.retryable:
            context.collect_size.shrink()
        else:
            record_failure(repository_id, str(error))
        raise
    except Exception as error:
        record_failure(repository_id, f"{type(error).__name__}: {error}")
        raise
    finish(context, {repository_id: collected})
    return collected


def finish(context: JobContext, collected: Mapping[int, Collected]) -> None:
    """End successful turns: delay repositories that could not be collected, clear the attempts of others.

    Enqueues the review if there are blob candidates.  The last batch of a repository already settles its
    row, unless new garbage was recorded at that moment.  Then its attempts still count, and would make a
    busy repository back off.
    """
    put_off = [id for id, turn in collected.items() if turn.stopped or not (turn.batches or turn.has_more)]
    succeed(
        [id for id in collected if id not in put_off],
        unfinished=[id for id, turn in collected.items() if turn.has_more],
    )
    release(put_off, delay_ms=PUT_OFF_MS)
    if any(turn.blob_candidates for turn in collected.values()):
        context.queue.review()


def _collect(context: JobContext, repository_id: int, budget: Budget) -> Collected:
    total = Collected(has_more=True)
    from_ms = BEGINNING_MS
    for size in context.deleting(context.collect_size, budget):
        batch = _attempt(context, repository_id, size, from_ms)
        context.limits.charge(rows=batch.rows)
        from_ms = batch.reached_ms
        total += Collected.of(batch)
        publish_removals(context, {repository_id: batch})
        if not batch.has_more:
            break
    if total.rows:
        log.info(
            "repository.collected", repository_id=repository_id, tags=total.tags, manifests=total.manifests
        )
    return total


def _attempt(context: JobContext, repository_id: int, size: int, from_ms: int) -> Batch:
    for _ in range(ATTEMPTS - 1):
        try:
            with metrics.batch("collect"):
                return collect_batch(repository_id, policy=context.policy, limit=size, from_ms=from_ms)
        except Contended:
            log.info("batch.contended", repository_id=repository_id)
    with metrics.batch("collect"):
        return collect_batch(repository_id, policy=context.policy, limit=size, from_ms=from_ms)


def publish_removals(context: JobContext, batches: Mapping[int, Batch]) -> None:
    """Drop the batches' rows from the cache, and enqueue the report deletions that they recorded.

    Takes the batch of each repository that one transaction collected.  Best effort: if Redis is unavailable,
    the workers drop the cache entries when they receive the event.
    """
    if any(batch.reports for batch in batches.values()):
        context.queue.reports()
    for repository_id, batch in batches.items():
        if batch.stopped:
            log.warning("collection.stopped", repository_id=repository_id, reason=batch.stopped)
    forget_removed(
        context.cache,
        [
            Removed(batch.scope, batch.manifests, batch.blobs)
            for batch in batches.values()
            if batch.scope is not None and batch.rows
        ],
    )
