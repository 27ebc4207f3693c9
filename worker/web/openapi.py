"""Build the OpenAPI document from the endpoints, and add the errors that all of them share."""

from __future__ import annotations

from typing import Any

import yaml
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from worker.web.problems import MEDIA_TYPE, Problem

DESCRIPTION = """\
What `dredge web` answers. Every request has a token (`Authorization: Bearer …`) with the scope that it needs:
`read` for GET and plans, `operate` for what an operator sets, `delete` for deletions. Errors are problem
details (RFC 9457). The endpoints of tags, and the deletion of repositories and organizations, are Quay's.
"""

_ERRORS = {
    "400": "The request is not valid.",
    "401": "There is no token, or it is not known.",
    "403": "The token lacks the scope, or the operation is switched off.",
    "404": "There is no such thing.",
    "409": "The state of the thing does not allow it.",
    "429": "Too many wrong tokens came from this address.",
    "500": "The server failed.",
    "503": "The database or the broker did not answer: try again.",
}


def describe(app: FastAPI) -> None:
    """Make the application serve this document."""

    def made() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = made  # type: ignore[method-assign]


def as_yaml(document: dict[str, Any]) -> str:
    """Return the document in the form of the file in the documentation."""
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110))


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = Problem.model_json_schema()
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"] |= {
                status: {"description": text, "content": content} for status, text in _ERRORS.items()
            }
    return document
