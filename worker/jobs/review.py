"""Review blob candidates: batch after batch until none is left or the turn is over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from model.gc.poison import find_due
from model.gc.review import Reviewed, find_candidate, review_batch
from worker import logs, metrics
from worker.jobs.context import JobContext
from worker.jobs.isolation import DIVIDE_BY, attempt_alone, is_of_an_item
from worker.jobs.pace import Budget

log = logs.logger("dredge.review")

STAGE = "review"
# Set-aside blobs that a turn tries again.
RETRIES = 100


@dataclass(frozen=True)
class Retired:
    """What one turn of the review retired; `bytes` as the blobs' rows say."""

    candidates: int = 0
    blobs: int = 0
    bytes: int = 0
    tombstones: int = 0
    rows: int = 0
    has_more: bool = False
    stopped: str = ""

    def plus(self, batch: Reviewed) -> Retired:
        """With one more batch."""
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
    """Judge candidates until none is left or the budget is used up; then `has_more`.

    Enqueues the eraser where tombstones were written.  Several at once take different candidates.  A batch
    that fails is divided until the blob is found that makes it fail, which is set aside.
    """
    total = Retired(has_more=True)
    for batch in _batches(context, Budget(budget_s)):
        context.limits.charge(rows=batch.rows)
        total = total.plus(batch)
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
    """Judge all candidates of one blob, its attempt counted before."""
    found = []

    def work() -> None:
        found.append(review_batch(policy=context.policy, limit=context.review_size.value, blob_id=blob_id))

    attempt_alone(STAGE, str(blob_id), work)
    # Others may wait.
    return replace(found[0], has_more=not found[0].stopped) if found else Reviewed(has_more=True)
