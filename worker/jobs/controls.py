"""What a job asks before each of its batches: may anything be removed now?"""

from __future__ import annotations

from collections.abc import Sequence

from model.controls.gate import find_hold
from model.controls.holds import list_holds
from model.gc.find import Due
from worker.jobs.context import JobContext


def find_stop(context: JobContext) -> str:
    """Why nothing may be removed anywhere now, in words; empty where it may."""
    return "" if context.policy.ignores_holds else find_hold()


def without_held(found: Sequence[Due]) -> list[Due]:
    """Leave out repositories that are on hold: their collection would only find the hold."""
    holds = list_holds()
    return [
        due
        for due in found
        if not any(
            hold.covers(namespace_id=due.namespace_id, repository_id=due.repository_id) for hold in holds
        )
    ]
