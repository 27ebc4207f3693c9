"""Sign in to the page with a token, and sign out."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from worker.web.access import Access, address_of
from worker.web.rendering import page
from worker.web.sessions import COOKIE, LIFE_S, Sessions
from worker.web.viewer import Form, find_session

router = APIRouter(include_in_schema=False)


@router.get("/login")
def ask(request: Request, next: str = "/") -> Response:
    """Show the form for a token."""
    if not request.app.state.access.tokens:
        return RedirectResponse("/", 303)
    return page(request, "login.html", find_session(request), next=_local(next), error="")


@router.post("/login")
def sign_in(request: Request, form: Form) -> Response:
    """Begin a session if the token is known.  Wrong tokens are limited as in the API."""
    access: Access = request.app.state.access
    sessions: Sessions = request.app.state.sessions
    where = _local(form.get("next", "/"))
    if not access.tokens:
        return RedirectResponse("/", 303)
    try:
        caller = access.identify(address_of(request), form.get("token", "").strip())
    except HTTPException as error:
        return page(
            request, "login.html", None, status_code=error.status_code, next=where, error=str(error.detail)
        )
    answer = RedirectResponse(where, 303)
    answer.set_cookie(
        COOKIE, sessions.begin(caller.name), max_age=LIFE_S, secure=True, httponly=True, samesite="strict"
    )
    return answer


@router.post("/logout")
def sign_out(form: Form) -> Response:
    """End the session of this browser."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict")
    return answer


def _local(path: str) -> str:
    """Return the path if it is of this site, or else the start page."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours else "/"
