"""Review blob candidates in batches, until none is left or the turn's time is used up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.gc.poison import DIVIDE_BY, find_due
from model.gc.review import Reviewed, find_candidate, review_batch
from worker import logs, metrics
from worker.jobs.context import JobContext
from worker.jobs.isolation import attempt_alone, is_of_an_item
from worker.jobs.pace import Budget

log = logs.logger("dredge.review")

STAGE = "review"
# Maximum set-aside blobs that a turn tries again.
RETRIES = 100


@dataclass(frozen=True)
class Retired:
    """The blobs that one turn of the review retired; `bytes` is the sum of the sizes in their rows."""

    candidates: int = 0
    blobs: int = 0
    bytes: int = 0
    tombstones: int = 0
    rows: int = 0
    has_more: bool = False
    stopped: str = ""

    def __add__(self, batch: Reviewed) -> Retired:
        """Add the counts of a batch; the batch says whether there is more, and why it stopped."""
        return Retired(
            candidates=self.candidates + batch.candidates,
            blobs=self.blobs + batch.blobs,
            bytes=self.bytes + batch.bytes,
            tombstones=self.tombstones + batch.tombstones,
            rows=self.rows + batch.rows,
            has_more=batch.has_more,
            stopped=batch.stopped,
        )


def review(context: JobContext, *, budget_s: float) -> Retired:
    """Review candidates until none is left or the budget is used up (then `has_more` is True).

    Enqueues the eraser if tombstones were written.  Concurrent calls claim different candidates.  A batch
    that fails is divided until the blob that causes it is found, and that blob is set aside.  Idempotent.
    """
    total = Retired(has_more=True)
    for batch in _batches(context, Budget(budget_s)):
        context.limits.charge(rows=batch.rows)
        total += batch
        if not batch.has_more:
            break
    if total.stopped:
        log.warning("review.stopped", reason=total.stopped)
    if total.tombstones:
        context.queue.erase()
        log.info("blobs.retired", blobs=total.blobs, bytes=total.bytes)
    return total


def _batches(context: JobContext, budget: Budget) -> Iterator[Reviewed]:
    for due in find_due(STAGE, limit=RETRIES):
        yield _alone(context, int(due.key))
    last_id, most = 0, 0
    for size in context.deleting(context.review_size, budget):
        limit = min(size, most or size)
        try:
            batch = _next(context, limit, last_id)
        except Exception as error:
            if not is_of_an_item(error) or limit == 1:
                raise
            most = max(1, limit // DIVIDE_BY)
            log.info("batch.divided", candidates=limit, error=str(error), kind=type(error).__name__)
            continue
        last_id, most = batch.last_id, most * DIVIDE_BY
        yield batch


def _next(context: JobContext, limit: int, after_id: int) -> Reviewed:
    if limit > 1:
        with metrics.batch("review"):
            return review_batch(policy=context.policy, limit=limit, after_id=after_id)
    found = find_candidate(after_id=after_id)
    if found is None:
        return Reviewed(last_id=after_id)
    return replace(_alone(context, found.blob_id), last_id=found.id)


def _alone(context: JobContext, blob_id: int) -> Reviewed:
    """Count an attempt, then review all candidates of one blob."""
    found = []

    def work() -> None:
        found.append(review_batch(policy=context.policy, limit=context.review_size.value, blob_id=blob_id))

    attempt_alone(STAGE, str(blob_id), work)
    # Other candidates may be waiting.
    return replace(found[0], has_more=not found[0].stopped) if found else Reviewed(has_more=True)
