"""The breaker: it stops a collection if too much of a namespace becomes due at once.

A collection needs a valid check.  An open breaker stops all collections of its namespace (id 0: all
collections and purges of the registry) before they delete a row, until an operator approves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from model.controls import facts
from model.controls.judgement import AHEAD_MS, Limits, judge, valid_for_ms
from model.db.clock import NOW_MS_SQL, now_ms
from model.db.connection import execute, fetch, fetch_one, transaction
from model.errors import Contended
from model.events import record as events
from model.policy import Policy

T = TypeVar("T")

REGISTRY = 0

# Writes the window of namespaces that were never checked, so that a first shorter window is noticed.
_NOTE_WINDOWS = """
INSERT INTO dredge_breaker (namespace_id, window_ms)
SELECT u.id, u.removed_tag_expiration_s * 1000 FROM "user" u
WHERE NOT u.robot AND NOT EXISTS (SELECT FROM dredge_breaker b WHERE b.namespace_id = u.id)
ON CONFLICT DO NOTHING
"""

_ENSURE = """
INSERT INTO dredge_breaker (namespace_id, window_ms)
VALUES (%(id)s, coalesce((SELECT u.removed_tag_expiration_s * 1000 FROM "user" u WHERE u.id = %(id)s), 0))
ON CONFLICT DO NOTHING
"""

_LOCK = f"""
SELECT b.window_ms, b.valid_until_ms, b.approved_ms, b.opened_ms, {NOW_MS_SQL} AS now_ms,
       coalesce((SELECT u.removed_tag_expiration_s * 1000 FROM "user" u WHERE u.id = b.namespace_id), 0)
           AS current_window_ms,
       (SELECT u.username FROM "user" u WHERE u.id = b.namespace_id) AS namespace
FROM dredge_breaker b WHERE b.namespace_id = %(id)s FOR UPDATE
"""

_CHECKED = """
UPDATE dredge_breaker SET window_ms = %(window_ms)s, valid_until_ms = %(valid_until_ms)s,
       due_manifests = %(due)s, manifests = %(manifests)s, reason = nullif(%(reason)s, ''),
       opened_ms = CASE WHEN %(reason)s <> '' THEN %(now_ms)s END
WHERE namespace_id = %(id)s
"""

# Approves what is due now and within the next two hours; later checks count only what is due after that.
_APPROVE = f"""
UPDATE dredge_breaker b SET opened_ms = NULL, reason = NULL, valid_until_ms = 0,
       approved_ms = {NOW_MS_SQL} + %(ahead_ms)s, approved_by = %(author)s,
       window_ms = coalesce((SELECT u.removed_tag_expiration_s * 1000 FROM "user" u WHERE u.id = %(id)s), 0)
WHERE b.namespace_id = %(id)s AND b.opened_ms IS NOT NULL
"""

_OPEN = """
SELECT b.namespace_id, coalesce(n.username, 'the whole registry') AS namespace, b.opened_ms, b.reason,
       b.due_manifests, b.manifests
FROM dredge_breaker b LEFT JOIN "user" n ON n.id = b.namespace_id
WHERE b.opened_ms IS NOT NULL ORDER BY b.opened_ms, b.namespace_id
"""


class BreakerUnchecked(Contended):
    """The breaker must be checked before anything is removed here."""

    def __init__(self, namespace_ids: Sequence[int]) -> None:
        super().__init__(namespace_ids=list(namespace_ids))
        self.namespace_ids = namespace_ids


@dataclass(frozen=True)
class OpenBreaker:
    """A breaker that stops collections until it is approved."""

    namespace_id: int
    namespace: str
    opened_ms: int
    reason: str
    due_manifests: int
    manifests: int


def checked(policy: Policy, batch: Callable[[], T]) -> T:
    """Run a batch; if it raises `BreakerUnchecked`, check, and run it once more.

    The batch was rolled back then, before it deleted a row.  The check runs outside of its transaction,
    because an opened breaker must be committed.
    """
    try:
        return batch()
    except BreakerUnchecked as unchecked:
        check(unchecked.namespace_ids, policy=policy)
        return batch()


def check(namespace_ids: Iterable[int], *, policy: Policy) -> None:
    """Check the namespaces and the registry whose last check is no longer valid.

    If `judge` says so, opens the breaker in a transaction of its own, and records
    `registry.breaker.opened`.  Of two checks at once the second waits, and uses the result of the first.
    An open breaker stays open.
    """
    for id in (*sorted({*namespace_ids} - {REGISTRY}), REGISTRY):
        with transaction():
            _check(id, policy)


def _check(id: int, policy: Policy) -> None:
    execute(_ENSURE, {"id": id})
    row = fetch_one(_LOCK, {"id": id})
    shortened = row.current_window_ms < row.window_ms
    if row.opened_ms is not None or (row.valid_until_ms > row.now_ms and not shortened):
        return
    limits = Limits(policy.breaker_share, policy.breaker_manifests)
    if id == REGISTRY:
        execute(_NOTE_WINDOWS)
        found = facts.of_registry(limits, approved_ms=row.approved_ms, now_ms=row.now_ms, policy=policy)
    else:
        found = facts.of_namespace(
            id,
            limits,
            window_ms=row.current_window_ms,
            known_window_ms=row.window_ms,
            approved_ms=row.approved_ms,
            now_ms=row.now_ms,
            policy=policy,
        )
    reason = judge(found, limits)
    due = sum(manifests for _, manifests in found.moments)
    if reason:
        data = {"namespace_id": id, "reason": reason, "due_manifests": due, "manifests": found.manifests}
        name = row.namespace or "the whole registry"
        events.record(
            events.BREAKER_OPENED, subject=name, data={"namespace": row.namespace, **data}, now_ms=row.now_ms
        )
    execute(
        _CHECKED,
        {
            "id": id,
            "window_ms": row.current_window_ms,
            "valid_until_ms": row.now_ms + valid_for_ms(now_ms() - row.now_ms),
            "due": due,
            "manifests": found.manifests,
            "reason": reason,
            "now_ms": row.now_ms,
        },
    )


def approve(namespace_id: int, *, author: str) -> bool:
    """Close an open breaker: collections may delete what is due now and within the next two hours.

    Returns False, with nothing changed, if the breaker is not open.  What is due later is checked again.
    """
    return bool(execute(_APPROVE, {"id": namespace_id, "ahead_ms": AHEAD_MS, "author": author[:200]}))


def list_open() -> list[OpenBreaker]:
    """Every open breaker, oldest first; only reads."""
    return [OpenBreaker(*row) for row in fetch(_OPEN)]
