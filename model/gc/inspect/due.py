"""The state of due repositories: which are attempted, which are due soon, and their rows.  Only reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.db.arrays import IntArray
from model.db.connection import fetch
from model.db.tables import RepositoryState
from model.gc.find import Due
from model.policy import Policy

_MARKED = int(RepositoryState.MARKED_FOR_DELETION)
# Reads at most this many tags for each recovery window in use.
TAGS = 50_000

# A scan leaves these out until their next try.
_ATTEMPTED = """
SELECT d.repository_id, d.namespace_id, d.due_ms FROM dredge_due d
WHERE d.attempts > 0 AND d.next_try_ms > %(now_ms)s ORDER BY d.next_try_ms, d.repository_id LIMIT %(limit)s
"""

# Uses the index on lifetime_end_ms: reads the tags that ended in that time, for each window in use.
_SOON = f"""
WITH windows AS MATERIALIZED (
    SELECT DISTINCT u.removed_tag_expiration_s * 1000 AS window_ms FROM "user" u WHERE u.enabled
), ended AS MATERIALIZED (
    SELECT t.repository_id, t.lifetime_end_ms + w.window_ms AS due_ms, w.window_ms
    FROM windows w CROSS JOIN LATERAL (
        SELECT t.repository_id, t.lifetime_end_ms FROM tag t
        WHERE t.lifetime_end_ms > %(now_ms)s - w.window_ms
          AND t.lifetime_end_ms <= %(now_ms)s + %(within_ms)s - w.window_ms
          AND NOT (t.immutable AND %(protects_immutable)s)
        ORDER BY t.lifetime_end_ms LIMIT %(tags)s) t
)
SELECT r.id AS repository_id, r.namespace_user_id AS namespace_id, min(e.due_ms)::bigint AS due_ms
FROM ended e JOIN repository r ON r.id = e.repository_id AND r.state <> {_MARKED}
JOIN "user" n ON n.id = r.namespace_user_id AND n.enabled
 AND n.removed_tag_expiration_s * 1000 = e.window_ms
GROUP BY 1, 2 ORDER BY 3, 1 LIMIT %(limit)s
"""

_STANDINGS = """
SELECT r.id AS repository_id, n.id AS namespace_id, n.username || '/' || r.name AS repository,
       coalesce(d.attempts, 0) AS attempts, d.next_try_ms, d.queued_ms, d.last_error,
       (SELECT count(*) FROM dredge_due q WHERE q.namespace_id = n.id AND q.queued_ms IS NOT NULL)
           AS queued_of_namespace
FROM unnest(%(ids)s) WITH ORDINALITY AS w (id, place) JOIN repository r ON r.id = w.id
JOIN "user" n ON n.id = r.namespace_user_id LEFT JOIN dredge_due d ON d.repository_id = r.id
ORDER BY w.place
"""


@dataclass(frozen=True)
class Standing:
    """The noted state of a repository: attempts, the next try, its message in the queue; times in ms."""

    repository_id: int
    namespace_id: int
    repository: str
    attempts: int
    next_try_ms: int | None
    queued_ms: int | None
    last_error: str | None
    queued_of_namespace: int


def find_attempted(*, now_ms: int, limit: int) -> list[Due]:
    """Return repositories that are being collected, or that fail and wait for their next try."""
    return [Due(*row) for row in fetch(_ATTEMPTED, {"now_ms": now_ms, "limit": limit})]


def find_soon(*, policy: Policy, now_ms: int, within_ms: int, limit: int) -> list[Due]:
    """Return repositories that are due within `within_ms`, earliest first, by their tags now."""
    params = {
        "now_ms": now_ms,
        "within_ms": within_ms,
        "protects_immutable": policy.protects_immutable,
        "tags": TAGS,
        "limit": limit,
    }
    return [Due(*row) for row in fetch(_SOON, params)]


def read_standings(repository_ids: Sequence[int]) -> list[Standing]:
    """Return the noted state of these repositories, in this order.  Leaves out those that no longer exist."""
    return [Standing(*row) for row in fetch(_STANDINGS, {"ids": IntArray(repository_ids)})]
