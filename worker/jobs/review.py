"""Review blob candidates in batches, until none is left or the turn's time is used up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from model.errors import RegistryError
from model.gc.poison import find_due
from model.gc.review import Reviewed, review_batch
from model.gc.review_claim import ReviewClaim, claim_candidates, take_back
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
        yield _alone(context, ReviewClaim(blob_id=int(due.key), more=True))
    start = context.starts["review"]
    start.begin()
    for size in context.deleting(context.review_size, budget):
        after_id, _ = start.go_on()
        claim = claim_candidates(policy=context.policy, limit=size, after_id=max(0, after_id))
        start.reach(None if claim is None or claim.divided else (claim.upto_id, 0))
        if claim is None:
            yield Reviewed()
            return
        yield _alone(context, claim) if claim.blob_id else _together(context, claim, size)


def _together(context: JobContext, claim: ReviewClaim, size: int) -> Reviewed:
    """Review one batch.  If it fails because of one of its blobs, the next claim divides it."""
    try:
        with metrics.batch("review"):
            return _review(context, claim, size)
    except Exception as error:
        if not is_of_an_item(error):
            with suppress(RegistryError):
                take_back(claim)
            raise
        log.info("batch.divided", error=str(error), kind=type(error).__name__)
        return Reviewed(has_more=True)


def _alone(context: JobContext, claim: ReviewClaim) -> Reviewed:
    """Count an attempt, then review all candidates of one blob."""
    found = []

    def work() -> None:
        alone = ReviewClaim(blob_id=claim.blob_id, more=claim.more)
        found.append(_review(context, alone, context.review_size.value))

    attempt_alone(STAGE, str(claim.blob_id), work)
    return found[0] if found else Reviewed(has_more=claim.more)


def _review(context: JobContext, claim: ReviewClaim, size: int) -> Reviewed:
    reviewed = review_batch(policy=context.policy, limit=size, claim=claim)
    return replace(reviewed, has_more=claim.more and not reviewed.stopped)
