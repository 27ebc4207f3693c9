"""CloudEvents 1.0 from rows of the outbox."""

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
    """Every event that the row stands for; asked again, the same events with the same ids.

    A row with `items` is one event per item: the item's keys over the row's, and its own subject.
    A list `blobs` beside the items is dealt out among them, so that the whole stays as large as the row.
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
    """A row with `items` as one event for the workers: a collection's thousands cost them as much as one."""
    data = _read(row.data)
    return _event(row, row.event_id, row.subject, data) if "items" in data else None


def _read(text: str) -> dict[str, Any]:
    """The data of a row; raises `ValueError` where it is no object, or no JSON could carry it on."""
    data = json.loads(text, parse_float=_finite, parse_constant=_finite)
    if not isinstance(data, dict):
        raise ValueError("the data of an event must be an object")
    return data


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that JSON can carry")
    return number


def is_event(body: object) -> bool:
    """Return whether a message's body has what every handler needs of an event."""
    return isinstance(body, dict) and isinstance(body.get("id"), str) and isinstance(body.get("data"), dict)


def routing_key(event: CloudEvent) -> str:
    """The type without its prefix: `tag.deleted`."""
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
