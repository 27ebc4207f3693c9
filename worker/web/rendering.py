"""Render pages from templates.  All values are escaped, and a page loads nothing from other sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from model.human import counted, human_bytes, human_ms, when
from worker.web.sessions import Session

HERE = Path(__file__).parent
STATIC = HERE / "static"

# Messages after a form's action, by key, so that a page never shows text from its URL.
DONE = {
    "paused": "The hold is set: every process stops there before its next batch.",
    "resumed": "The hold is lifted: collections go on with the next scan.",
    "approved": "The breaker is closed: the collection goes on.",
    "restored": "Restored.",
    "enqueued": "The collection is enqueued.",
}


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "bytes": human_bytes,
        "duration": human_ms,
        "when": lambda ms: when(ms) or "",
        "counted": counted,
        "number": lambda value: f"{value:,}",
        "until": _until,
        "digest": lambda text: f"{text[:19]}…" if len(text) > 20 else text,
    }
    return made


def _until(at_ms: int | None, now_ms: int) -> str:
    if at_ms is None:
        return "none"
    return f"in {human_ms(at_ms - now_ms)}" if at_ms > now_ms else "with the next scan"


_TEMPLATES = _environment()


def page(
    request: Request, template: str, viewer: Session | None, *, status_code: int = 200, **values: Any
) -> HTMLResponse:
    """Return the page of a template, with the buttons that `viewer` may use."""
    scopes = viewer.caller.scopes if viewer else frozenset()
    text = _TEMPLATES.get_template(template).render(
        **values,
        path=request.url.path,
        viewer=viewer,
        may_operate="operate" in scopes,
        may_delete="delete" in scopes,
        done=DONE.get(request.query_params.get("done", "")),
    )
    return HTMLResponse(text, status_code)
