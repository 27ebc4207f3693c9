"""What a job asks before each of its batches: may anything be removed now?"""

from __future__ import annotations

from collections.abc import Sequence

from model.controls import gate
from model.controls.breaker import REGISTRY, list_open
from model.controls.holds import list_holds
from model.db.clock import now_ms
from model.gc.find import Due
from worker.jobs.context import JobContext


def find_stop(context: JobContext) -> str:
    """Why nothing may be removed anywhere now, in words; empty where it may."""
    return gate.find_stop(context.policy, now_ms=now_ms())


def without_stopped(found: Sequence[Due]) -> list[Due]:
    """Leave out what is on hold or behind an open breaker: a collection would only find that out."""
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
