"""Review blob candidates: batch after batch until none is left or the turn is over."""

from __future__ import annotations

from dataclasses import dataclass

from model.gc.review import review_batch
from worker import logs, metrics
from worker.jobs.context import JobContext
from worker.jobs.pace import Budget

log = logs.logger("dredge.review")


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


def review(context: JobContext, *, budget_s: float) -> Retired:
    """Judge candidates until none is left or the budget is used up; then `has_more`.

    Enqueues the eraser where tombstones were written.  Several at once take different candidates.
    """
    total = Retired(has_more=True)
    last_id = 0
    for size in context.deleting(context.review_size, Budget(budget_s)):
        with metrics.batch("review"):
            batch = review_batch(policy=context.policy, limit=size, after_id=last_id)
        context.limits.charge(rows=batch.rows)
        last_id = batch.last_id
        total = Retired(
            candidates=total.candidates + batch.candidates,
            blobs=total.blobs + batch.blobs,
            bytes=total.bytes + batch.bytes,
            tombstones=total.tombstones + batch.tombstones,
            rows=total.rows + batch.rows,
            has_more=batch.has_more,
            stopped=batch.stopped,
        )
        if not batch.has_more:
            break
    if total.stopped:
        log.warning("review.stopped", reason=total.stopped)
    if total.tombstones:
        context.queue.erase()
        log.info("blobs.retired", blobs=total.blobs, bytes=total.bytes)
    return total
