"""Record events: an event is a row of the outbox, written by the transaction that makes the change."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from model.db.arrays import IntArray
from model.db.prepared import run

CHANNEL = "dredge_event"

TAG_CREATED = "registry.tag.created"
TAG_DELETED = "registry.tag.deleted"
TAG_RESTORED = "registry.tag.restored"
TAG_RETARGETED = "registry.tag.retargeted"
TAG_EXPIRY_CHANGED = "registry.tag.expiry_changed"
TAG_EXPIRING = "registry.tag.expiring"
TAG_PERMANENTLY_DELETED = "registry.tag.permanently_deleted"
MANIFEST_COLLECTED = "registry.manifest.collected"
REPOSITORY_COLLECTED = "registry.repository.collected"
REPOSITORY_DELETED = "registry.repository.deleted"
REPOSITORY_RESTORED = "registry.repository.restored"
REPOSITORY_PURGED = "registry.repository.purged"
NAMESPACE_DELETED = "registry.namespace.deleted"
NAMESPACE_RESTORED = "registry.namespace.restored"
NAMESPACE_PURGED = "registry.namespace.purged"
BLOB_ERASED = "registry.blob.erased"
BREAKER_OPENED = "registry.breaker.opened"
LOCATION_SUSPENDED = "registry.location.suspended"
WORK_FAILING = "registry.work.failing"


@dataclass(frozen=True)
class NewEvent:
    """An event to record.

    `data["items"]`, if present, is a list of objects.  The publisher makes one CloudEvent of each, with an id
    derived from the row's id, so that a repeated event has the same id.
    """

    type: str
    subject: str
    data: Mapping[str, Any]
    repository_id: int | None = None


# A part of a `WITH` clause, with the parameters of `parameters`; select `WAKE` from it.
MADE = """
made AS (
    INSERT INTO dredge_event (event_id, type, repository_id, subject, data, created_ms)
    SELECT id, type, nullif(repository_id, 0), subject, data, %(now_ms)s
    FROM unnest(%(ids)s, %(types)s, %(repositories)s, %(subjects)s, %(datas)s) WITH ORDINALITY
        AS e (id, type, repository_id, subject, data, n) ORDER BY n
    RETURNING 1
)
"""
WAKE = f"(SELECT count(pg_notify('{CHANNEL}', '')) FROM made)"


def parameters(events: Sequence[NewEvent], *, now_ms: int) -> dict[str, Any]:
    """Return the parameters of `MADE`: rows for the outbox, in this order."""
    return {
        "ids": [str(uuid.uuid4()) for _ in events],
        "types": [event.type for event in events],
        "subjects": [event.subject for event in events],
        "datas": [json.dumps(event.data) for event in events],
        "repositories": IntArray(event.repository_id or 0 for event in events),
        "now_ms": now_ms,
    }


def record_all(events: Sequence[NewEvent], *, now_ms: int) -> None:
    """Add rows to the outbox, in this order, and wake the relay when the caller's transaction commits.

    Call it in the transaction that makes the change, so that a rollback also removes the events.
    """
    run(f"WITH {MADE} SELECT {WAKE}", parameters(events, now_ms=now_ms))


def record(
    type: str, *, subject: str, data: Mapping[str, Any], now_ms: int, repository_id: int | None = None
) -> None:
    """Do `record_all` for one event."""
    record_all([NewEvent(type, subject, data, repository_id)], now_ms=now_ms)
