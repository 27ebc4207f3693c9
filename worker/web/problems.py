"""Errors as problem JSON (RFC 9457), with the two members that Quay's clients read as well."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from model import errors
from model.errors import RegistryError
from model.retention.file import BadPolicyFile
from worker import logs
from worker.broker.connection import BrokerUnavailable
from worker.jobs.explain import NothingFound
from worker.web.rendering import page
from worker.web.viewer import NotSignedIn, find_session

log = logs.logger("dredge.web")

API = ("/api/", "/v1/")
MEDIA_TYPE = "application/problem+json"
RETRY_S = 5
MOST_WHAT = 1024

# The first class that matches the error decides; any other `RegistryError` is a 500.
_STATUS: tuple[tuple[type[RegistryError], int], ...] = (
    (errors.BadInput, 400),
    (BadPolicyFile, 400),
    (errors.NoSuchNamespace, 404),
    (errors.NoSuchRepository, 404),
    (errors.NoSuchTag, 404),
    (errors.NoSuchManifest, 404),
    (errors.NoSuchBlob, 404),
    (errors.ManifestGone, 404),
    (NothingFound, 404),
    (errors.ImmutableTag, 409),
    (errors.NotRestorable, 409),
    (errors.NameTaken, 409),
    (errors.FeatureDisabled, 403),
    (errors.DatabaseUnavailable, 503),
    (errors.StatementTimeout, 503),
    (errors.Contended, 503),
    (BrokerUnavailable, 503),
)

# Quay's values of `error_type`, by status.
_TYPES = {
    400: "invalid_request",
    401: "invalid_token",
    403: "insufficient_scope",
    404: "not_found",
    405: "invalid_request",
    409: "invalid_request",
    429: "invalid_token",
    503: "downstream_issue",
}


class Problem(BaseModel):
    """What is wrong, and what to do about it."""

    type: str = Field(description="a name of the kind of problem")
    title: str
    status: int
    detail: str = Field(description="one line: what is wrong, and what to do")
    error_type: str = Field(description="the same kind, in Quay's words")
    error_message: str = Field(description="the same as `detail`, where Quay's clients look for it")


def status_of(error: RegistryError) -> int:
    """Return the HTTP status of an error of the model."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return a response with the problem in one line: JSON for the API, a page for a browser."""
    if not request.url.path.startswith(API):
        title = HTTPStatus(status).phrase.capitalize()
        session = find_session(request)
        viewer = session if session and "read" in session.caller.scopes else None
        what = request.query_params.get("what", "")[:MOST_WHAT]
        shown = page(
            request, "problem.html", viewer, status_code=status, title=title, detail=detail, what=what
        )
        shown.headers.update(headers or {})
        return shown
    kind = _TYPES.get(status, "internal_error" if status >= 500 else "invalid_request")
    body = Problem(
        type=f"urn:dredge:problem:{kind}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        error_type=kind,
        error_message=detail,
    )
    return JSONResponse(body.model_dump(), status, headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of an endpoint with a problem that shows no traceback and no secret."""
    app.add_exception_handler(RegistryError, _registry_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(NotSignedIn, _not_signed_in)
    app.add_exception_handler(Exception, _unexpected)


def describe(error: RegistryError) -> str:
    """Return the error's line; for a server error without details, which are only in the log."""
    return str(error) if status_of(error) < 500 else (type(error).__doc__ or "").strip().partition("\n")[0]


async def _registry_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RegistryError)
    status = status_of(error)
    if status >= 500:
        log.warning("request.failed", method=request.method, path=request.url.path, error=str(error))
    return problem(request, status, describe(error), {"Retry-After": str(RETRY_S)} if status == 503 else None)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem(request, 400, "; ".join(_in_words(each) for each in error.errors()))


def _in_words(found: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in found["loc"] if part not in ("body", "query", "path"))
    return f"{where or 'the request'}: {found['msg']}"


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(request, error.status_code, str(error.detail), dict(error.headers or {}))


async def _not_signed_in(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotSignedIn)
    return RedirectResponse(error.login, 303)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request.broke", method=request.method, path=request.url.path, error=f"{type(error).__name__}")
    return problem(request, 500, "The server failed; its log says why")
