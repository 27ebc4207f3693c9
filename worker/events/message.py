"""Make CloudEvents 1.0 from rows of the outbox."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from model.events.outbox import OutboxRow
from model.events.webhooks import PREFIX

CloudEvent = dict[str, Any]

SOURCE = "dredge"


def cloud_events(row: OutboxRow) -> Iterator[CloudEvent]:
    """Yield every event of the row.  Each call yields the same events with the same IDs.

    A row with `items` is one event per item, whose keys replace the row's, and which has its own subject.  A
    list `blobs` beside the items is divided among them, so that all events together are as large as the row.
    """
    data = _read(row.data)
    items = data.pop("items", None)
    if items is None:
        yield _event(row, row.event_id, row.subject, data)
        return
    blobs = data.pop("blobs", None)
    for n, item in enumerate(items):
        share = {} if blobs is None else {"blobs": blobs[n :: len(items)]}
        own = {key: value for key, value in item.items() if key != "subject"}
        event_id = str(uuid.uuid5(uuid.UUID(row.event_id), str(n)))
        yield _event(row, event_id, item.get("subject", row.subject), {**data, **share, **own})


def removal(row: OutboxRow) -> CloudEvent | None:
    """Return a row with `items` as a single event for the workers, which handle it in one step."""
    data = _read(row.data)
    return _event(row, row.event_id, row.subject, data) if "items" in data else None


def _read(text: str) -> dict[str, Any]:
    """Return the data of a row.  Raises `ValueError` if it is not an object, or not valid in JSON."""
    data = json.loads(text, parse_float=_finite, parse_constant=_finite)
    if not isinstance(data, dict):
        raise ValueError("the data of an event must be an object")
    return data


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that JSON can represent")
    return number


def is_event(body: object) -> bool:
    """Return whether a message's body has the fields of an event that every handler needs."""
    return isinstance(body, dict) and isinstance(body.get("id"), str) and isinstance(body.get("data"), dict)


def routing_key(event: CloudEvent) -> str:
    """Return the event's type without its prefix, such as `tag.deleted`."""
    return str(event["type"]).removeprefix(PREFIX)


def _event(row: OutboxRow, event_id: str, subject: str, data: dict[str, Any]) -> CloudEvent:
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": row.type,
        "subject": subject,
        "time": datetime.fromtimestamp(row.created_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "datacontenttype": "application/json",
        "data": data,
    }
