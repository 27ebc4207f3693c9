"""Collect one repository: batch after batch until nothing is left or the turn is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.cache import invalidation
from model.errors import Contended, RegistryError, StatementTimeout
from model.gc.collect import Batch, collect_batch
from model.gc.due.attempt import claim, record_failure, release
from model.gc.tags import BEGINNING_MS
from worker import logs, metrics
from worker.jobs.context import JobContext
from worker.jobs.pace import Budget

log = logs.logger("dredge.collect")

# Somebody was in the way (a window changed, a deadlock was broken): so often at once, then later.
ATTEMPTS = 3

# A repository on hold, of a disabled namespace or in another's hands is looked at again after this.
# The scan finds it earlier where it may be collected again.
PUT_OFF_MS = 600_000


@dataclass(frozen=True)
class Collected:
    """What one turn removed from a repository; `stopped` says why it was not allowed to go on."""

    tags: int = 0
    manifests: int = 0
    rows: int = 0
    blob_candidates: int = 0
    batches: int = 0
    has_more: bool = False
    stopped: str = ""


def collect_repository(context: JobContext, repository_id: int, *, budget_s: float) -> Collected:
    """Collect until the repository has no garbage or the budget is used up; then `has_more`.

    The attempt is counted first, every batch is a transaction of its own, and what it removed leaves the
    cache right after its commit.  A repository that fails backs off with its error noted, which is raised.
    Two at once, or a second run, are harmless: one does nothing.
    """
    claim([repository_id])
    return collect_claimed(context, repository_id, budget_s=budget_s)


def collect_claimed(context: JobContext, repository_id: int, *, budget_s: float) -> Collected:
    """`collect_repository` where the attempt has been counted."""
    try:
        collected = _collect(context, repository_id, Budget(budget_s))
    except Contended:
        release([repository_id])
        raise
    except StatementTimeout as error:
        # A smaller batch may be done in time; where none is, the repository backs off and is shown.
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
    """After turns that ended well: put off what nobody may collect, release the others, wake the review.

    What has nothing more was settled by its last batch, and is left alone; where somebody noted new garbage
    at that moment it was not, and an attempt that stayed counted would make a busy repository back off.
    """
    put_off = [id for id, turn in collected.items() if turn.stopped or not (turn.batches or turn.has_more)]
    release([id for id in collected if id not in put_off])
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
        total = add(total, batch)
        publish_removals(context, repository_id, batch)
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


def publish_removals(context: JobContext, repository_id: int, batch: Batch) -> None:
    """Drop what the batch removed from the cache, and wake the delivery of reports that it owes.

    The event invalidates the cache again if Redis is unavailable now.
    """
    if batch.reports:
        context.queue.reports()
    if batch.stopped:
        log.warning("collection.stopped", repository_id=repository_id, reason=batch.stopped)
    if batch.scope is None or not batch.rows:
        return
    context.cache.invalidate(
        *invalidation.after_collection(
            batch.scope.namespace,
            batch.scope.repository,
            batch.scope.repository_id,
            manifests=[digest for digest, _ in batch.manifests],
            referred=[subject for _, subject in batch.manifests if subject],
            blobs=batch.blobs,
        )
    )


def add(total: Collected, batch: Batch) -> Collected:
    """A turn and one more batch of it."""
    return Collected(
        tags=total.tags + batch.tags,
        manifests=total.manifests + len(batch.manifests),
        rows=total.rows + batch.rows,
        blob_candidates=total.blob_candidates + batch.blob_candidates,
        batches=total.batches + (batch.scope is not None),
        has_more=batch.has_more,
        stopped=batch.stopped,
    )
