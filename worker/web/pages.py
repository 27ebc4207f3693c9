"""The read-only pages: status, a repository, deletions, and explanations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from model import registry
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import BadInput
from model.gc.find import rank
from model.gc.inspect.daily import read_daily
from model.gc.inspect.plan import plan_repository
from model.gc.inspect.removable import Removable, read_removable
from model.gc.inspect.status import read_history
from model.names import parse_repository
from model.policy import Policy
from worker.jobs.explain import explain_any
from worker.jobs.find import find_due
from worker.jobs.overview import LOOK, read_overview
from worker.jobs.targets import find_named
from worker.jobs.waiting import explain_stops, list_waiting
from worker.web.context import Context
from worker.web.plot import bars
from worker.web.rendering import page
from worker.web.viewer import Viewer

router = APIRouter(include_in_schema=False)

DAYS = 30
ROWS = 20
TAGS = 100
# The page estimates what so many of the due repositories could free.
ESTIMATED = 1_000

What = Annotated[str, Query(max_length=1024)]


@router.get("/")
@connection()
def status(request: Request, context: Context, viewer: Viewer) -> Response:
    """Show everything that `dredge status` shows, with buttons for holds and breakers."""
    overview = read_overview(context.policy)
    share = context.settings.namespace_share
    waiting, _ = list_waiting(context.policy, share=share, limit=ROWS, within_ms=0)
    days = read_daily(days=DAYS, now_ms=overview.now_ms)
    return page(
        request,
        "status.html",
        viewer,
        overview=overview,
        now_ms=overview.now_ms,
        longest_waiting=waiting,
        removable=_removable(context.policy, overview.now_ms),
        days=days,
        bars=bars(days),
        history=read_history(repository_id=None, limit=ROWS),
    )


def _removable(policy: Policy, now_ms: int) -> list[Removable]:
    found, _, _ = find_due(policy, after=0, slice=LOOK, limit=LOOK)
    due = [each.repository_id for each in rank(found, limit=ESTIMATED)]
    return read_removable(due, policy=policy, now_ms=now_ms, limit=ROWS)


@router.get("/look")
@connection()
def look(request: Request, context: Context, viewer: Viewer, what: What = "") -> Response:
    """Show a repository, or explain why a tag, manifest, blob or object still exists."""
    what = what.strip()
    try:
        parse_repository(what)
    except BadInput:
        return _explained(request, context, viewer, what)
    return _repository(request, context, viewer, what)


def _explained(request: Request, context: Context, viewer: Viewer, what: str) -> Response:
    found = explain_any(what, context.settings)
    repository = what.partition("@")[0].rpartition(":")[0] or what.partition("@")[0]
    return page(request, "explain.html", viewer, what=what, repository=repository, explanations=found)


def _repository(request: Request, context: Context, viewer: Viewer, what: str) -> Response:
    where = find_named(what)
    plan = plan_repository(where.id, policy=context.policy)
    return page(
        request,
        "repository.html",
        viewer,
        what=what,
        repository=where.path,
        plan=plan,
        stops=explain_stops(where, context.policy),
        tags=registry.list_tag_history(where.id, limit=TAGS),
        history=read_history(repository_id=where.id, limit=ROWS),
        now_ms=now_ms(),
    )


@router.get("/deleted")
@connection()
def deleted(request: Request, context: Context, viewer: Viewer) -> Response:
    """Show deleted repositories and namespaces, and until when each one can be restored."""
    return page(
        request,
        "deleted.html",
        viewer,
        repositories=registry.list_deleted_repositories(limit=TAGS),
        namespaces=registry.list_deleted_namespaces(limit=TAGS),
        grace_ms=context.policy.purge_grace_ms,
    )
