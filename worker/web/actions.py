"""The actions of the page's buttons.  Each form has a token of its session; no GET changes anything."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException
from fastapi.responses import RedirectResponse

from model.controls.breaker import approve
from model.controls.holds import lift_hold
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import BadInput
from model.names import parse_repository
from model.policy import HOUR_MS
from worker.jobs import deletions, tags
from worker.jobs.targets import find_target
from worker.web.api_controls import hold
from worker.web.context import Context
from worker.web.viewer import OperatorForm, Viewer

router = APIRouter(include_in_schema=False, prefix="/actions")

MOST_HOURS = 24 * 365


def _back(path: str, done: str, **query: str) -> RedirectResponse:
    return RedirectResponse(f"{path}?{urlencode({**query, 'done': done})}", 303)


@router.post("/pause")
@connection()
def pause(viewer: Viewer, form: OperatorForm) -> RedirectResponse:
    """Set a hold."""
    reason = form.get("reason", "").strip()
    if not reason:
        raise BadInput("A hold needs a reason: it is shown with the hold")
    hours = form.get("hours", "").strip()
    if hours and not (hours.isascii() and hours.isdigit() and 0 < int(hours) <= MOST_HOURS):
        raise BadInput(f"A hold lasts 1 to {MOST_HOURS} hours, or until it is lifted")
    until_ms = now_ms() + int(hours) * HOUR_MS if hours else None
    hold(form.get("target", "").strip() or None, reason, until_ms, author=viewer.caller.name)
    return _back("/", "paused")


@router.post("/resume")
@connection()
def resume(form: OperatorForm) -> RedirectResponse:
    """Lift a hold, given by its IDs, because its target may no longer exist."""
    try:
        lifted = lift_hold(
            namespace_id=int(form.get("namespace_id", "")), repository_id=int(form.get("repository_id", ""))
        )
    except ValueError:
        raise BadInput("The form names no hold: load the page again") from None
    if not lifted:
        raise HTTPException(404, "The hold is not there any more")
    return _back("/", "resumed")


@router.post("/approve")
@connection()
def approve_breaker(viewer: Viewer, form: OperatorForm) -> RedirectResponse:
    """Close a breaker."""
    found = find_target(form.get("namespace", "") or None)
    if found.repository_id or not approve(found.namespace_id, author=viewer.caller.name):
        raise HTTPException(404, f"The breaker of {found.name} is not open")
    return _back("/", "approved")


@router.post("/restore-tag")
@connection()
def restore_tag(context: Context, form: OperatorForm) -> RedirectResponse:
    """Point a tag at a manifest to which it pointed before."""
    repository = form.get("repository", "")
    name = parse_repository(repository)
    tags.restore_tag(context, *name, form.get("tag", ""), form.get("digest", ""))
    return _back("/look", "restored", what=repository)


@router.post("/restore-repository")
@connection()
def restore_repository(context: Context, form: OperatorForm) -> RedirectResponse:
    """Restore a deleted repository."""
    deletions.restore_repository(context, form.get("repository", ""))
    return _back("/deleted", "restored")


@router.post("/restore-namespace")
@connection()
def restore_namespace(context: Context, form: OperatorForm) -> RedirectResponse:
    """Restore a deleted namespace."""
    deletions.restore_namespace(context, form.get("namespace", ""))
    return _back("/deleted", "restored")
