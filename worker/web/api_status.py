"""The API that only reads: the state of the collection, due repositories, history and explanations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query

from model.db.connection import connection
from model.gc.inspect.explanation import Explanation
from model.gc.inspect.status import Step, read_history
from worker.jobs.explain import explain_any
from worker.jobs.overview import Overview, read_overview
from worker.jobs.targets import find_named
from worker.jobs.waiting import WaitingRepository, list_waiting
from worker.web.context import Context, Reader

router = APIRouter(tags=["status"])

Limit = Annotated[int, Query(ge=1, le=1000, description="Maximum rows.")]


@dataclass(frozen=True)
class Standing:
    """The state of the collection, and how long the rest takes at the rate of the last hour."""

    overview: Overview
    collect_left_ms: int | None
    erase_left_ms: int | None


@dataclass(frozen=True)
class Waiting:
    """Repositories with garbage, longest waiting first, alternating namespaces."""

    repositories: list[WaitingRepository]
    has_more: bool


@router.get("/api/v1/status", operation_id="status")
@router.get("/api/v1/gc/status", operation_id="gcStatus")
@connection()
def status(context: Context, caller: Reader, hours: Annotated[int, Query(ge=1, le=8760)] = 24) -> Standing:
    """Return the state of the collection; `freed` covers the last `hours`."""
    overview = read_overview(context.policy, hours=hours)
    return Standing(overview, overview.collect_left_ms, overview.erase_left_ms)


@router.get("/api/v1/due", operation_id="due")
@connection()
def due(
    context: Context,
    caller: Reader,
    limit: Limit = 100,
    within_s: Annotated[int, Query(ge=0, le=31_536_000, description="Also what comes due so soon.")] = 0,
) -> Waiting:
    """Return repositories with garbage: since when each waits, why, and its next try."""
    share = context.settings.namespace_share
    return Waiting(*list_waiting(context.policy, share=share, limit=limit, within_ms=within_s * 1000))


@router.get("/api/v1/history", operation_id="history")
@connection()
def history(caller: Reader, repository: str | None = None, limit: Limit = 100) -> list[Step]:
    """Return the latest steps of collections, newest first, of a repository or of all."""
    found = None if repository is None else find_named(repository).id
    return read_history(repository_id=found, limit=limit)


@router.get("/api/v1/explain", operation_id="explain")
@connection()
def explain(
    context: Context,
    caller: Reader,
    what: Annotated[
        str,
        Query(
            max_length=1024,
            description="A repository, `…:tag`, `…@sha256:…`, a digest, or an object's path in storage.",
        ),
    ],
) -> list[Explanation]:
    """Return why something still exists, or when it will be removed."""
    return explain_any(what, context.settings)
