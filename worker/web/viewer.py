"""Find the viewer of a page, and verify that a form comes from one of our own pages."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias
from urllib.parse import parse_qsl, quote

from fastapi import Depends, HTTPException, Request

from worker.api_token import Scope
from worker.web.access import missing
from worker.web.sessions import COOKIE, Session, Sessions, is_same_origin

MOST_FORM = 65_536


class NotSignedIn(Exception):
    """The page needs a session; `login` is the path of the sign-in form."""

    def __init__(self, login: str) -> None:
        self.login = login
        super().__init__(login)


def find_session(request: Request) -> Session | None:
    """Return the session of the request's cookie, or None."""
    sessions: Sessions = request.app.state.sessions
    return sessions.find(request.cookies.get(COOKIE))


def _viewer(request: Request) -> Session:
    found = find_session(request)
    if found is not None and "read" in found.caller.scopes:
        return found
    if found is not None:
        raise HTTPException(403, missing(request.app.state.access, "read"))
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    raise NotSignedIn(f"/login?next={quote(asked, safe='')}" if request.method == "GET" else "/login")


Viewer: TypeAlias = Annotated[Session, Depends(_viewer)]


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of a form from one of our own pages.  Raises `HTTPException` 403 or 413."""
    headers = request.headers
    if not is_same_origin(headers.get("origin"), headers.get("sec-fetch-site"), headers.get("host", "")):
        raise HTTPException(403, "The form comes from another site")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM:
            raise HTTPException(413, "The form is too large")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


Form: TypeAlias = Annotated[dict[str, str], Depends(read_form)]


def form_of(scope: Scope) -> Any:
    """Return a dependency that yields the fields of a form of this session, if its viewer has this scope."""

    def check(request: Request, viewer: Viewer, form: Form) -> Mapping[str, str]:
        if scope not in viewer.caller.scopes:
            raise HTTPException(403, missing(request.app.state.access, scope))
        if not hmac.compare_digest(form.get("form_token", "").encode(), viewer.form_token.encode()):
            raise HTTPException(403, "The form is from another session: load the page again")
        return form

    return Depends(check)


OperatorForm: TypeAlias = Annotated[Mapping[str, str], form_of("operate")]
