"""Collect one repository: batch after batch until nothing is left or the turn is over."""

from __future__ import annotations

from dataclasses import dataclass

from model.cache import invalidation
from model.errors import Contended, NoSuchRepository, RegistryError
from model.gc.collect import Batch, collect_batch
from model.gc.failures import clear_failure, record_failure
from model.gc.tags import BEGINNING_MS
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.pace import Budget

log = logs.logger("dredge.collect")

# Somebody was in the way (a window changed, a deadlock was broken): so often at once, then later.
ATTEMPTS = 3


@dataclass(frozen=True)
class Collected:
    """What one turn removed from a repository; `stopped` says why it was not allowed to go on."""

    tags: int = 0
    manifests: int = 0
    rows: int = 0
    blob_candidates: int = 0
    batches: int = 0
    had_failed: bool = False
    has_more: bool = False
    stopped: str = ""


def collect_repository(context: JobContext, repository_id: int, *, budget_s: float) -> Collected:
    """Collect until the repository has no garbage or the budget is used up; then `has_more`.

    Every batch is a transaction of its own, and what it removed leaves the cache right after its
    commit.  A repository that fails is noted with a backoff, and its error raised.  Two at once, or
    a second run, are harmless: one does nothing.
    """
    try:
        collected = _collect(context, repository_id, Budget(budget_s))
    except NoSuchRepository:
        raise
    except RegistryError as error:
        if not error.retryable:
            record_failure(repository_id, str(error))
        raise
    except Exception as error:
        record_failure(repository_id, f"{type(error).__name__}: {error}")
        raise
    if collected.had_failed:
        clear_failure(repository_id)
    if collected.blob_candidates:
        context.queue.review()
    return collected


def _collect(context: JobContext, repository_id: int, budget: Budget) -> Collected:
    total = Collected()
    from_ms = BEGINNING_MS
    for size in context.collect_size.batches(budget):
        batch = _attempt(context, repository_id, size, from_ms)
        from_ms = batch.reached_ms
        total = _add(total, batch)
        _forget(context, batch)
        if batch.reports:
            context.queue.reports()
        if batch.stopped:
            log.warning("collection.stopped", repository_id=repository_id, reason=batch.stopped)
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
            return collect_batch(repository_id, policy=context.policy, limit=size, from_ms=from_ms)
        except Contended:
            log.info("batch.contended", repository_id=repository_id)
    return collect_batch(repository_id, policy=context.policy, limit=size, from_ms=from_ms)


def _forget(context: JobContext, batch: Batch) -> None:
    """Drop what the batch removed from the cache; the event does it again if Redis is unavailable now."""
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


def _add(total: Collected, batch: Batch) -> Collected:
    return Collected(
        tags=total.tags + batch.tags,
        manifests=total.manifests + len(batch.manifests),
        rows=total.rows + batch.rows,
        blob_candidates=total.blob_candidates + batch.blob_candidates,
        batches=total.batches + (batch.scope is not None),
        had_failed=total.had_failed or (batch.scope is not None and batch.scope.has_failed),
        has_more=batch.has_more,
        stopped=batch.stopped,
    )
