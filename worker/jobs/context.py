"""What a job may use beside the database, handed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from model.cache.base import DataModelCache
from model.policy import Policy
from worker.jobs.limits import FleetLimits
from worker.jobs.pace import BatchSize, Budget
from worker.settings import Settings
from worker.storage.base import Stores

# Of many repositories a batch may begin larger, but a thousand tags of unique layers take over a second.
TOGETHER_FIRST = 500


class Queue(Protocol):
    """Enqueues the next piece of work; a lost message is found again by the next scan."""

    def collect(self, repository_ids: Sequence[int]) -> int:
        """One `garbage_collect_repo` each, in this order, where none waits.  Returns how many were sent."""

    def purge(self, repository_ids: Sequence[int], namespace_ids: Sequence[int] = ()) -> int:
        """One `purge_repository` or `purge_namespace` each, where none waits.  Returns how many were sent."""

    def retain(self, repository_ids: Sequence[int]) -> int:
        """One `retain_repository` each, where none waits; how many were sent."""

    def review(self) -> None:
        """Blob candidates are waiting."""

    def erase(self) -> None:
        """Tombstones are waiting."""

    def reports(self) -> None:
        """Security reports are to be deleted at the scanner."""


@dataclass(frozen=True)
class JobContext:
    """Built once per process by `worker.wiring`; in tests from parts."""

    settings: Settings
    policy: Policy
    stores: Stores
    cache: DataModelCache
    queue: Queue

    @cached_property
    def limits(self) -> FleetLimits:
        """Return the limits of the fleet, as this process asks for them."""
        return FleetLimits(self.settings)

    def deleting(self, size: BatchSize, budget: Budget) -> Iterator[int]:
        """Yield the sizes of batches that delete rows, each as soon as the limits admit it.

        None where they do not within the budget: then there is more to do.
        """
        return size.batches(budget, lambda: self.limits.admit("rows", budget=budget))

    @cached_property
    def collect_size(self) -> BatchSize:
        """Return how many manifests a transaction of a collection takes, as this process has learned."""
        settings = self.settings
        return BatchSize(most=settings.batch_manifests, target_ms=settings.transaction_target_ms)

    @cached_property
    def together_size(self) -> BatchSize:
        """The same of a transaction that collects several repositories."""
        settings = self.settings
        return BatchSize(
            most=settings.batch_manifests, target_ms=settings.transaction_target_ms, first=TOGETHER_FIRST
        )

    @cached_property
    def review_size(self) -> BatchSize:
        """The same of blob candidates and a review."""
        settings = self.settings
        return BatchSize(most=settings.review_batch, target_ms=settings.transaction_target_ms)
