"""Build the AsyncAPI document of webhooks from the schemas of the events."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from worker.events.webhook import BATCH, SINGLE

SCHEMAS = Path(__file__).parents[2] / "docs" / "reference" / "schemas"

DESCRIPTION = """\
What `dredge webhook add` has sent to an endpoint: a POST with one CloudEvent, or with a list of those that
happened together. Signed as Standard Webhooks writes it; any answer but 2xx is tried again.
"""

HEADERS = {
    "type": "object",
    "required": ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature"],
    "properties": {
        "content-type": {"enum": [SINGLE, BATCH]},
        "webhook-id": {"type": "string", "description": "the same whenever the delivery is tried again"},
        "webhook-timestamp": {"type": "string", "pattern": "^[0-9]+$", "description": "seconds since 1970"},
        "webhook-signature": {"type": "string", "pattern": "^v1,[A-Za-z0-9+/]{43}=$"},
    },
}


def asyncapi() -> dict[str, Any]:
    """Return the document; its payloads are the schemas beside it."""
    messages = {path.stem: _message(path) for path in sorted(SCHEMAS.glob("*.json"))}
    names = [{"$ref": f"#/channels/webhook/messages/{name}"} for name in messages]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Dredge webhooks", "version": version("quay-dredge"), "description": DESCRIPTION},
        "defaultContentType": SINGLE,
        "channels": {
            "webhook": {
                "address": "{path}",
                "description": "The address that `dredge webhook add` was given.",
                "parameters": {"path": {"description": "its path"}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "deliver": {
                "action": "send",
                "channel": {"$ref": "#/channels/webhook"},
                "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
                "messages": names,
            }
        },
        "components": {"messages": messages, "schemas": {"headers": HEADERS}},
    }


def _message(path: Path) -> dict[str, Any]:
    schema = json.loads(path.read_text())
    event = {"$ref": f"reference/schemas/{path.name}"}
    return {
        "name": schema["title"],
        "summary": schema["description"],
        "headers": {"$ref": "#/components/schemas/headers"},
        "payload": {"oneOf": [event, {"type": "array", "items": event}]},
    }
