"""Deliveries to webhooks: rows, claimed with a lease, so that no transaction waits for an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.db.arrays import BigIntArray, IntArray
from model.db.backoff import backoff_ms, shortened
from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch
from model.db.queue_start import OF_DUE, OF_IDS, STARTS, Key, start_params

FIRST_RETRY_MS = 30_000
LAST_RETRY_MS = 6 * 3_600_000

# The longest due of each webhook, so that a slow webhook does not delay the others.
_CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT d.id, d.due_ms, w.url
    FROM {STARTS}
    JOIN dredge_webhook w ON w.name = s.name CROSS JOIN LATERAL (
        SELECT d.id, d.due_ms FROM dredge_delivery d
        WHERE d.webhook = s.name AND d.dead_ms IS NULL AND d.due_ms <= (SELECT {NOW_MS_SQL})
          AND (d.due_ms, d.id) >= (s.from_ms, s.from_id)
        ORDER BY d.due_ms, d.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED) d
)
UPDATE dredge_delivery d SET tries = d.tries + 1, due_ms = {NOW_MS_SQL} + %(lease_ms)s
FROM due WHERE d.id = due.id AND d.id {OF_DUE}
RETURNING d.id, d.webhook, due.url, d.event_id, d.type, d.subject, d.data, d.created_ms, d.tries,
          {NOW_MS_SQL} AS now_ms, due.due_ms AS was_due_ms
"""

_NAMES = "SELECT name FROM dredge_webhook"

_FAIL = f"""
UPDATE dredge_delivery SET last_error = %(error)s,
    due_ms = {NOW_MS_SQL} + {backoff_ms("tries - 1", "%(first)s", "%(last)s")},
    dead_ms = CASE WHEN tries >= %(most)s THEN {NOW_MS_SQL} END
WHERE id = %(id)s AND tries = %(tries)s
"""

# They were not sent, so the try does not count.
_RELEASE = f"""
UPDATE dredge_delivery d SET tries = d.tries - 1, due_ms = {NOW_MS_SQL} + %(after_ms)s
FROM unnest(%(ids)s, %(tries)s) AS c (id, tries)
WHERE d.id = c.id AND d.id {OF_IDS} AND d.tries = c.tries
"""

_RETRY = f"""
UPDATE dredge_delivery SET dead_ms = NULL, tries = 0, due_ms = {NOW_MS_SQL}
WHERE dead_ms IS NOT NULL AND (%(webhook)s::text IS NULL OR webhook = %(webhook)s)
"""

_PRUNE = """
DELETE FROM dredge_delivery WHERE id IN (
    SELECT id FROM dredge_delivery WHERE dead_ms < %(before_ms)s ORDER BY dead_ms LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True)
class Delivery:
    """A delivery that was claimed at `now_ms`: `tries` counts this one, and is the claim's token."""

    id: int
    webhook: str
    url: str
    event_id: str
    type: str
    subject: str
    data: str
    created_ms: int
    tries: int
    now_ms: int
    was_due_ms: int

    @property
    def key(self) -> Key:
        """Return where the queue of the webhook had this delivery before the claim."""
        return self.was_due_ms, self.id


def find_webhooks() -> list[str]:
    """Return the names of the webhooks; only reads."""
    return [row.name for row in fetch(_NAMES)]


def claim_deliveries(starts: Mapping[str, Key], *, limit: int, lease_ms: int) -> list[Delivery]:
    """Claim at most `limit` due deliveries of each of these webhooks, in the order of their events.

    Looks only at those from the webhook's start on (`model.db.queue_start`).

    Counts the try before anything is sent; a delivery is due again when the lease ends.  So after a crash
    it may be sent twice, and is never lost.
    """
    rows = fetch(_CLAIM, {**start_params(starts), "limit": limit, "lease_ms": lease_ms})
    return sorted((Delivery(*row) for row in rows), key=lambda each: each.id)


def settle_delivery(delivery: Delivery) -> bool:
    """Delete a delivery that the endpoint has accepted; False if another claim has it now."""
    # Safe: the endpoint has the event, and no other claim has the row.
    return bool(
        execute("DELETE FROM dredge_delivery WHERE id = %s AND tries = %s", (delivery.id, delivery.tries))
    )


def fail_delivery(delivery: Delivery, error: str, *, most_tries: int) -> None:
    """Note the error; try again after 30 s, doubled by each failure, up to 6 h; give up at `most_tries`."""
    execute(
        _FAIL,
        {
            "id": delivery.id,
            "tries": delivery.tries,
            "error": shortened(error),
            "first": FIRST_RETRY_MS,
            "last": LAST_RETRY_MS,
            "most": most_tries,
        },
    )


def release_deliveries(deliveries: Sequence[Delivery], *, after_ms: int) -> None:
    """Release claims that were not sent; they are due again `after_ms` from now."""
    ids, tries = (each.id for each in deliveries), (each.tries for each in deliveries)
    execute(_RELEASE, {"ids": BigIntArray(ids), "tries": IntArray(tries), "after_ms": after_ms})


def retry_dead(webhook: str | None = None) -> int:
    """Make given-up deliveries due again, of one webhook or all, with no tries.  Returns how many."""
    return execute(_RETRY, {"webhook": webhook})


def prune_dead(*, before_ms: int, limit: int) -> int:
    """Delete at most `limit` deliveries given up before `before_ms`.  Returns how many.  Idempotent."""
    return execute(_PRUNE, {"before_ms": before_ms, "limit": limit})
