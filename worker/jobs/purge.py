"""Purge deleted repositories and namespaces in batches, until nothing is left or the time is used up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from model.counts import Counts
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import RegistryError
from model.gc.find import rank
from model.purge import state
from model.purge.find import find_namespaces, find_repositories, mark_unmarked
from model.purge.namespace import NamespacePurge, purge_namespace_batch
from model.purge.references import read_steps
from model.purge.repository import PurgeBatch, purge_repository_batch
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop, is_registry_broken
from worker.jobs.forget import Removed, forget_removed
from worker.jobs.pace import Budget

T = TypeVar("T")

log = logs.logger("dredge.purge")

LIMIT = 5_000


@dataclass(frozen=True)
class PurgedRepository(Counts):
    """The rows that one turn deleted; `done` is True when the repository itself is deleted.

    `stopped`: why the registry's breaker forbids the purge; empty if it does not.
    """

    tags: int = 0
    manifests: int = 0
    rows: int = 0
    blob_candidates: int = 0
    done: bool = False
    has_more: bool = False
    stopped: str = ""

    @classmethod
    def of(cls, batch: PurgeBatch) -> PurgedRepository:
        """Count the rows of one batch."""
        return cls(
            tags=batch.contents.tags,
            manifests=len(batch.contents.manifests),
            rows=batch.rows,
            blob_candidates=batch.contents.blob_candidates,
            done=batch.done,
            has_more=batch.has_more,
            stopped=batch.stopped,
        )


def enqueue_purges(context: JobContext) -> int:
    """Enqueue the purge of each deleted repository and namespace after its grace.  Returns the number sent.

    Longest waiting first, alternating namespaces.  Raises `BrokerUnavailable`.
    """
    with connection():
        if find_stop(context) or is_registry_broken():
            return 0
    repository_ids, namespace_ids = find_purges(context)
    if not repository_ids and not namespace_ids:
        return 0
    return context.queue.purge(repository_ids, namespace_ids)


def find_purges(context: JobContext) -> tuple[list[int], list[int]]:
    """Return IDs of deleted repositories and namespaces whose grace is over, at most `LIMIT` of each."""
    grace_ms = context.policy.purge_grace_ms
    with connection():
        moment = now_ms()
        mark_unmarked(now_ms=moment)
        found = find_repositories(grace_ms=grace_ms, now_ms=moment, limit=LIMIT)
        namespaces = find_namespaces(grace_ms=grace_ms, now_ms=moment, limit=LIMIT)
    return [due.repository_id for due in rank(found, limit=LIMIT)], namespaces


def purge_repository(context: JobContext, repository_id: int, *, budget_s: float) -> PurgedRepository:
    """Purge a deleted repository until it is gone or the budget is used up (then `has_more` is True).

    Every batch is a transaction of its own.  Does nothing before the grace is over, while another process
    purges the repository, or after it is gone.  Records a failure with a backoff, and raises its error.
    Idempotent.
    """
    purged = _noted("repository", repository_id, lambda: _purge(context, repository_id, Budget(budget_s)))
    if purged.blob_candidates:
        context.queue.review()
    return purged


def purge_namespace(context: JobContext, namespace_id: int, *, budget_s: float) -> NamespacePurge:
    """Purge a deleted namespace, and enqueue the purge of the repositories that it marks for deletion.

    The namespace itself is deleted after all its repositories are; a later `find_purges` continues.
    Idempotent.
    """
    purged = _noted("namespace", namespace_id, lambda: _purge_namespace(context, namespace_id, budget_s))
    if purged.marked:
        context.queue.purge(find_purges(context)[0])
    return purged


def _purge(context: JobContext, repository_id: int, budget: Budget) -> PurgedRepository:
    with connection():
        steps = read_steps("repository")
    total = PurgedRepository(has_more=True)
    for size in context.deleting(context.collect_size, budget):
        batch = purge_repository_batch(repository_id, steps=steps, policy=context.policy, limit=size)
        context.limits.charge(rows=batch.rows)
        total += PurgedRepository.of(batch)
        _forget(context, batch)
        if batch.contents.manifests and context.policy.security_reports:
            context.queue.reports()
        if not batch.has_more:
            break
    if total.stopped:
        log.warning("purge.stopped", repository_id=repository_id, reason=total.stopped)
    if total.rows:
        log.info("repository.purged", repository_id=repository_id, rows=total.rows, done=total.done)
    return total


def _purge_namespace(context: JobContext, namespace_id: int, budget_s: float) -> NamespacePurge:
    with connection():
        steps = read_steps("user")
    total = NamespacePurge(has_more=True)
    for size in context.deleting(context.collect_size, Budget(budget_s)):
        batch = purge_namespace_batch(namespace_id, steps=steps, policy=context.policy, limit=size)
        context.limits.charge(rows=batch.rows)
        total += batch
        if not batch.has_more:
            break
    if total.stopped:
        log.warning("purge.stopped", namespace_id=namespace_id, reason=total.stopped)
    if total.rows:
        log.info("namespace.purged", namespace_id=namespace_id, rows=total.rows, done=total.done)
    return total


def _noted(kind: state.Kind, subject_id: int, work: Callable[[], T]) -> T:
    """Do the work; record an error with a backoff unless an immediate retry may help.  Raises the error."""
    try:
        return work()
    except RegistryError as error:
        if not error.retryable:
            state.record_failure(kind, subject_id, str(error))
        raise
    except Exception as error:
        state.record_failure(kind, subject_id, f"{type(error).__name__}: {error}")
        raise


def _forget(context: JobContext, batch: PurgeBatch) -> None:
    """Drop the batch's rows from the cache.  Best effort: the workers do it again for the event."""
    if batch.scope is not None and batch.rows:
        forget_removed(context.cache, [Removed(batch.scope, batch.contents.manifests, batch.contents.blobs)])
