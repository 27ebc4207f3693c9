"""CloudEvents 1.0 from rows of the outbox."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from model.events.outbox import OutboxRow

CloudEvent = dict[str, Any]

SOURCE = "dredge"
PREFIX = "registry."


def cloud_events(row: OutboxRow) -> Iterator[CloudEvent]:
    """Every event that the row stands for; asked again, the same events with the same ids.

    A row with `items` is one event per item: the item's keys over the row's, and its own subject.
    A list `blobs` beside the items is dealt out among them, so that the whole stays as large as the row.
    """
    data = json.loads(row.data)
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
    data = json.loads(row.data)
    return _event(row, row.event_id, row.subject, data) if "items" in data else None


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
