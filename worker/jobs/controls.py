"""Decide whether anything may be removed now.  Every job asks before each of its batches."""

from __future__ import annotations

from collections.abc import Sequence

from model.controls import gate
from model.controls.breaker import REGISTRY, list_open
from model.controls.holds import list_holds
from model.db.clock import now_ms
from model.gc.find import Due
from worker.jobs.context import JobContext


def find_stop(context: JobContext) -> str:
    """Return why nothing may be removed anywhere now, or an empty text if removing is allowed."""
    return gate.find_stop(context.policy, now_ms=now_ms())


def is_registry_broken() -> bool:
    """Return whether the breaker of the whole registry is open.  Only reads."""
    return any(breaker.namespace_id == REGISTRY for breaker in list_open())


def without_stopped(found: Sequence[Due]) -> list[Due]:
    """Leave out repositories on hold or with an open breaker: their collection would do nothing."""
    holds = list_holds()
    broken = {breaker.namespace_id for breaker in list_open()}
    return [
        due
        for due in found
        if not broken & {due.namespace_id, REGISTRY}
        and not any(
            hold.covers(namespace_id=due.namespace_id, repository_id=due.repository_id) for hold in holds
        )
    ]
