"""Sum up the tags that retention rules would end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.retention.freed import read_freed_together
from model.retention.plan import RetentionPlan


@dataclass(frozen=True)
class Sums:
    """The sums in the last line of the plan; a blob that several repositories share is counted once."""

    repositories: int
    tags: int
    manifests: int
    blobs: int
    bytes: int


def sum_up(plans: Sequence[RetentionPlan]) -> Sums:
    """Return the sums of the plans."""
    together = read_freed_together(
        (id for plan in plans for id in plan.manifest_ids), (id for plan in plans for id in plan.freed.shared)
    )
    return Sums(
        repositories=sum(bool(plan.by_rule) for plan in plans),
        tags=sum(plan.tags for plan in plans),
        manifests=sum(len(plan.manifest_ids) for plan in plans),
        blobs=sum(plan.freed.blobs for plan in plans) + together.blobs,
        bytes=sum(plan.freed.bytes for plan in plans) + together.bytes,
    )
