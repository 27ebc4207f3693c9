"""The outbox: an event is a row, written in the transaction that makes the change."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from model.database import fetch

CHANNEL = "dredge_event"

TAG_CREATED = "registry.tag.created"
TAG_DELETED = "registry.tag.deleted"
TAG_RESTORED = "registry.tag.restored"
TAG_RETARGETED = "registry.tag.retargeted"
TAG_EXPIRY_CHANGED = "registry.tag.expiry_changed"
TAG_PERMANENTLY_DELETED = "registry.tag.permanently_deleted"
MANIFEST_COLLECTED = "registry.manifest.collected"
REPOSITORY_COLLECTED = "registry.repository.collected"
BLOB_ERASED = "registry.blob.erased"


def record(
    type: str, *, subject: str, data: Mapping[str, Any], now_ms: int, repository_id: int | None = None
) -> None:
    """Add one row to the outbox and wake the relay when the caller's transaction commits.

    Call it inside the transaction that makes the change: a rollback takes the event with it.
    `data["items"]`, if present, is a list of objects: the publisher makes one CloudEvent of each,
    with ids derived from the row's, so that publishing again repeats the same ids.
    """
    fetch(
        "WITH made AS (INSERT INTO dredge_event (event_id, type, repository_id, subject, data, created_ms)"
        " VALUES (%s, %s, %s, %s, %s, %s) RETURNING id)"
        f" SELECT pg_notify('{CHANNEL}', '') FROM made",
        (str(uuid.uuid4()), type, repository_id, subject, json.dumps(data), now_ms),
    )
