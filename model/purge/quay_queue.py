"""Quay's own queue: an item asks Quay's workers for a purge; they skip an item that Dredge has claimed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping

from model.db.connection import execute, fetch_one
from model.db.introspection import has_table

# The same time for which a worker of Quay claims an item; each batch renews it.
LEASE_MS = 15 * 60_000

_PUT = """
INSERT INTO queueitem (queue_name, body, available_after, available, retries_remaining, state_id)
VALUES (%(name)s, %(body)s, to_timestamp(%(from_ms)s / 1000.0) AT TIME ZONE 'UTC', true, 5, %(state)s)
RETURNING id
"""

# The same compare-and-set as in Quay's workers: if two want the item, one gets it.
_CLAIM = """
UPDATE queueitem SET available = false, state_id = %(ours)s,
    processing_expires = to_timestamp((%(now_ms)s + %(lease_ms)s) / 1000.0) AT TIME ZONE 'UTC'
WHERE id = %(id)s AND available_after <= to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC'
  AND (available OR state_id = %(ours)s OR processing_expires IS NULL
       OR processing_expires <= to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC')
"""


def put(name: str, body: Mapping[str, object], *, from_ms: int) -> str | None:
    """Enqueue a purge for Quay's workers, from `from_ms` on.  Returns the item's id; None without a queue."""
    if not _is_there():
        return None
    params = {"name": name, "body": json.dumps(body), "from_ms": from_ms, "state": str(uuid.uuid4())}
    return str(fetch_one(_PUT, params).id)


def claim(queue_id: str | None, *, now_ms: int) -> bool:
    """Claim the item for `LEASE_MS`; False during its delay, or while a worker of Quay has it.

    True without an item, because then nobody else purges.  A second call renews the claim.
    """
    item = _item(queue_id)
    if item is None:
        return True
    params = {"id": item, "ours": f"dredge-{item}", "now_ms": now_ms, "lease_ms": LEASE_MS}
    return execute(_CLAIM, params) == 1


def remove(queue_id: str | None) -> None:
    """Delete the item of a finished or cancelled purge.  Idempotent."""
    item = _item(queue_id)
    if item is not None:
        execute("DELETE FROM queueitem WHERE id = %s", (item,))


def _item(queue_id: str | None) -> int | None:
    if queue_id is None or not queue_id.isdecimal() or not _is_there():
        return None
    found = fetch_one("SELECT id FROM queueitem WHERE id = %s", (int(queue_id),))
    return None if found is None else int(found.id)


def _is_there() -> bool:
    return has_table("queueitem")
