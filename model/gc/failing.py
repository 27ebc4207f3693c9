"""Record work that fails repeatedly: one event, when an item has failed five times in a row."""

from __future__ import annotations

from model.db.clock import now_ms
from model.db.connection import fetch_one
from model.events import record as events

# Five failures take about 15 minutes: an outage that ends before that has no event.
TOLD_AFTER = 5

NO_END = "The last attempt did not end: its process was killed, or ran out of memory or of time"

# What was deleted has another name in its own row until it is purged.
_NAMES = {
    "repository": """
SELECT coalesce(dn.original_username, n.username) || '/' || coalesce(dr.original_name, r.name) AS name
FROM repository r JOIN "user" n ON n.id = r.namespace_user_id
LEFT JOIN deletedrepository dr ON dr.repository_id = r.id
LEFT JOIN deletednamespace dn ON dn.namespace_id = n.id
WHERE r.id = %s
""",
    "namespace": """
SELECT coalesce(dn.original_username, n.username) AS name FROM "user" n
LEFT JOIN deletednamespace dn ON dn.namespace_id = n.id WHERE n.id = %s
""",
}


def tell_failing(stage: str, subject: str, *, tries: int, reason: str | None) -> None:
    """Record `registry.work.failing` if the item has failed exactly five times.

    Call it in the transaction that counts the attempt, so that every item has one event.
    """
    if tries == TOLD_AFTER:
        data = {"stage": stage, "tries": tries, "reason": reason or "unknown"}
        events.record(events.WORK_FAILING, subject=subject, data=data, now_ms=now_ms())


def tell_failing_row(stage: str, kind: str, id: int, *, tries: int, reason: str | None) -> None:
    """Do `tell_failing` for a repository or a namespace, by its name."""
    if tries == TOLD_AFTER:
        row = fetch_one(_NAMES[kind], (id,))
        tell_failing(stage, f"{kind} #{id}" if row is None else row.name, tries=tries, reason=reason)
