"""The application: API and pages on one port, with headers for every answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware

from worker.jobs.context import JobContext
from worker.web import (
    actions,
    api_controls,
    api_deletions,
    api_plan,
    api_retention,
    api_status,
    api_tags,
    login,
    pages,
    problems,
)
from worker.web.access import Access
from worker.web.openapi import describe
from worker.web.rendering import STATIC
from worker.web.sessions import Sessions

# At most as many requests run at once as the database pool has connections; others wait.
THREADS = 8
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@asynccontextmanager
async def _bounded(app: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = THREADS
    yield


def build(context: JobContext) -> FastAPI:
    """Build the application of this context.  Opens no connection before the first request."""
    app = FastAPI(
        title="Dredge",
        version=version("quay-dredge"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=_bounded,
    )
    app.state.context = context
    app.state.access = Access(context.settings.web_tokens)
    app.state.sessions = Sessions(app.state.access)
    # Routes of tags come before those of repositories, because a repository's name may contain slashes.
    for part in (
        pages,
        login,
        actions,
        api_status,
        api_controls,
        api_plan,
        api_retention,
        api_tags,
        api_deletions,
    ):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=STATIC))
    problems.install(app)
    describe(app)
    app.middleware("http")(_with_headers)
    if not context.settings.web_tokens:
        # Without tokens, a request under another host name (DNS rebinding) must not read anything.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "testserver"])
    return app


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Response:
    answer: Response = await call_next(request)
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer
