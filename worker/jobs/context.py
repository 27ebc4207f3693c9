"""The settings, stores, cache and queue that a job receives from its caller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from model.cache.base import DataModelCache
from model.db.queue_start import QueueStarts
from model.policy import Policy
from worker.jobs.limits import FleetLimits
from worker.jobs.pace import BatchSize, Budget
from worker.settings import Settings
from worker.storage.base import Stores

# The first batch of several repositories may be larger than of one, but not too large: a thousand tags with
# unique layers take more than a second.
TOGETHER_FIRST = 500


class Queue(Protocol):
    """Enqueues the next piece of work.  Messages may be lost: the next scan enqueues the work again."""

    def collect(self, repository_ids: Sequence[int]) -> int:
        """Enqueue `garbage_collect_repo` where none waits, in this order.  Returns the number sent."""

    def purge(self, repository_ids: Sequence[int], namespace_ids: Sequence[int] = ()) -> int:
        """Enqueue a `purge_*` task for each ID that has none waiting.  Returns the number sent."""

    def retain(self, repository_ids: Sequence[int]) -> int:
        """Enqueue a `retain_repository` for each that has none waiting.  Returns the number sent."""

    def review(self) -> None:
        """Enqueue a review: blob candidates are waiting."""

    def erase(self) -> None:
        """Enqueue the eraser: tombstones are waiting."""

    def reports(self) -> None:
        """Enqueue the deletion of security reports at the scanner."""


@dataclass(frozen=True)
class JobContext:
    """What a job needs.  `worker.wiring` builds one per process; tests build their own."""

    settings: Settings
    policy: Policy
    stores: Stores
    cache: DataModelCache
    queue: Queue

    @cached_property
    def starts(self) -> QueueStarts:
        """Return where this process's claims of each queue begin."""
        return QueueStarts()

    @cached_property
    def limits(self) -> FleetLimits:
        """Return this process's view of the limits that all workers share."""
        return FleetLimits(self.settings)

    def deleting(self, size: BatchSize, budget: Budget) -> Iterator[int]:
        """Yield the size of each next batch that deletes rows, as soon as the limits admit it.

        Ends when the budget is used up; the caller then reports that there is more to do.
        """
        return size.batches(budget, lambda: self.limits.admit("rows", budget=budget))

    @cached_property
    def collect_size(self) -> BatchSize:
        """Return the adaptive number of manifests in one transaction of a collection."""
        settings = self.settings
        return BatchSize(most=settings.batch_manifests, target_ms=settings.transaction_target_ms)

    @cached_property
    def together_size(self) -> BatchSize:
        """Return the adaptive number of manifests in one transaction of several repositories."""
        settings = self.settings
        return BatchSize(
            most=settings.batch_manifests, target_ms=settings.transaction_target_ms, first=TOGETHER_FIRST
        )

    @cached_property
    def review_size(self) -> BatchSize:
        """Return the adaptive number of blob candidates in one transaction of a review."""
        settings = self.settings
        return BatchSize(most=settings.review_batch, target_ms=settings.transaction_target_ms)
