"""Plan collections of the whole registry, or of some repositories, without removing anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model.counts import Counts
from model.gc.find import rank
from model.gc.inspect.plan import Plan, plan_blobs, plan_repository
from model.policy import Policy
from worker.jobs.find import find_due

SLICE = 100_000
MOST = 10_000_000


@dataclass(frozen=True)
class Total(Counts):
    """The sums in the last line of `collect`."""

    repositories: int = 0
    tags: int = 0
    manifests: int = 0
    blobs: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Planned(Total):
    """The sums of plans; `uploads` are expired push markers and unfinished uploads."""

    uploads: int = 0


def all_due(policy: Policy) -> list[int]:
    """Return every repository with garbage, longest waiting first, alternating namespaces.  Only reads."""
    found, position = [], 0
    while True:
        part, position, _ = find_due(policy, after=position, slice=SLICE, limit=MOST)
        found += part
        if not position:
            return [due.repository_id for due in rank(found, limit=MOST)]


def plan_each(repository_ids: list[int], policy: Policy) -> Iterator[Plan]:
    """Yield the plan of each repository that may be collected."""
    for repository_id in repository_ids:
        plan = plan_repository(repository_id, policy=policy)
        if plan is not None:
            yield plan


def total(plans: list[Plan]) -> Planned:
    """Return the sums of the plans; a blob that several repositories share is counted once."""
    blobs, bytes = plan_blobs(plans)
    return Planned(
        repositories=sum(not plan.is_empty for plan in plans),
        tags=sum(len(plan.tags) for plan in plans),
        manifests=sum(len(plan.digests) for plan in plans),
        blobs=blobs,
        bytes=bytes,
        uploads=sum(plan.uploads for plan in plans),
    )
