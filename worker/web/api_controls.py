"""The API for operators: set and lift holds, close breakers, and enqueue collections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, Field

from model.controls.breaker import approve, list_open
from model.controls.holds import Hold, lift_hold, list_holds, set_hold
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import BadInput
from model.gc.due.note import note_due
from model.registry.arguments import MAX_MS
from worker.broker.connection import BrokerUnavailable
from worker.jobs.in_process import NoQueue
from worker.jobs.targets import find_named, find_target
from worker.web.context import Context, Operator, Reader

router = APIRouter(tags=["controls"])

TARGET = "`namespace/name`, `namespace`, or null for the whole registry"
Target = Annotated[str | None, Field(description=TARGET, max_length=512)]


class NewHold(BaseModel):
    """A hold to set; a second one on the same target replaces the first."""

    target: Target = None
    reason: str = Field(min_length=1, max_length=500, description="Why; shown wherever the hold is.")
    until_ms: int | None = Field(None, ge=0, le=MAX_MS, description="When it ends by itself.")


class Approval(BaseModel):
    """The namespace, or the registry, whose breaker to close."""

    namespace: str | None = Field(None, max_length=255, description="null for the whole registry's")


@dataclass(frozen=True)
class StillOpen:
    """The breakers that are still open."""

    open: list[str]


@dataclass(frozen=True)
class Enqueued:
    """`enqueued` is false if a collection of the repository already waits in the queue."""

    repository: str
    enqueued: bool


@router.get("/api/v1/holds", operation_id="listHolds")
@connection()
def holds(caller: Reader) -> list[Hold]:
    """Return the holds in force, oldest first."""
    return list_holds()


@router.put("/api/v1/holds", operation_id="setHold")
@connection()
def pause(caller: Operator, wanted: NewHold) -> list[Hold]:
    """Hold the registry, a namespace or a repository; returns every hold in force.

    Every process stops before its next batch.
    """
    hold(wanted.target, wanted.reason, wanted.until_ms, author=caller.name)
    return list_holds()


def hold(target: str | None, reason: str, until_ms: int | None, *, author: str) -> None:
    """Set a hold.  Raises `BadInput` if its end is in the past."""
    if until_ms is not None and until_ms <= now_ms():
        raise BadInput("The hold would end in the past", until_ms=until_ms)
    found = find_target(target)
    set_hold(
        namespace_id=found.namespace_id,
        repository_id=found.repository_id,
        reason=reason,
        author=author,
        until_ms=until_ms,
    )


@router.delete("/api/v1/holds", operation_id="liftHold")
@connection()
def resume(
    caller: Operator, target: Annotated[str | None, Query(description=TARGET, max_length=512)] = None
) -> list[Hold]:
    """Lift the hold of exactly this target; returns the others.  404 if there is none."""
    found = find_target(target)
    if not lift_hold(namespace_id=found.namespace_id, repository_id=found.repository_id):
        raise HTTPException(404, f"{found.name} is not on hold")
    return list_holds()


@router.post("/api/v1/approve", operation_id="approve")
@connection()
def approve_breaker(caller: Operator, wanted: Approval) -> StillOpen:
    """Close the open breaker of a namespace or of the registry, so that due garbage is collected.

    Collected garbage cannot be restored.  404 if the breaker is not open.
    """
    if wanted.namespace is not None and "/" in wanted.namespace:
        raise BadInput("Give a namespace, not a repository")
    found = find_target(wanted.namespace)
    if not approve(found.namespace_id, author=caller.name):
        raise HTTPException(404, f"The breaker of {found.name} is not open")
    return StillOpen([breaker.namespace for breaker in list_open()])


@router.post("/api/v1/gc/{repository:path}", status_code=202, operation_id="collect")
@connection()
def collect(context: Context, caller: Operator, repository: str) -> Enqueued:
    """Enqueue the collection of a repository (`namespace/name`) now."""
    found = find_named(repository)
    if isinstance(context.queue, NoQueue):
        raise BrokerUnavailable("No broker is configured: set DREDGE_BROKER_URL")
    note_due({found.id: now_ms()})
    return Enqueued(found.path, bool(context.queue.collect([found.id])))
