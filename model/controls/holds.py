"""Holds: an operator stops the collection of the registry, a namespace or a repository, in every process."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch

# In the key of a hold, 0 means "every".  A repository's hold has no namespace, so it stays if the repository
# moves.
EVERY = 0

_SET = f"""
INSERT INTO dredge_hold (namespace_id, repository_id, reason, author, created_ms, until_ms)
VALUES (%(namespace_id)s, %(repository_id)s, %(reason)s, %(author)s, {NOW_MS_SQL}, %(until_ms)s)
ON CONFLICT (namespace_id, repository_id) DO UPDATE
SET reason = excluded.reason, author = excluded.author,
    created_ms = excluded.created_ms, until_ms = excluded.until_ms
"""

_LIST = f"""
SELECT h.namespace_id, h.repository_id,
       coalesce(n.username || '/' || r.name, o.username,
                CASE WHEN h.repository_id <> 0 THEN 'repository #' || h.repository_id
                     WHEN h.namespace_id <> 0 THEN 'namespace #' || h.namespace_id
                     ELSE 'the whole registry' END) AS target,
       h.reason, h.author, h.created_ms, h.until_ms
FROM dredge_hold h
LEFT JOIN repository r ON r.id = h.repository_id LEFT JOIN "user" n ON n.id = r.namespace_user_id
LEFT JOIN "user" o ON o.id = h.namespace_id
WHERE h.until_ms IS NULL OR h.until_ms > {NOW_MS_SQL}
ORDER BY h.created_ms, h.namespace_id, h.repository_id
"""

_FORGET = f"""
DELETE FROM dredge_hold WHERE until_ms <= {NOW_MS_SQL}
"""


@dataclass(frozen=True)
class Hold:
    """One hold.  `namespace_id` and `repository_id` are 0 if it is not limited to one; times in ms."""

    namespace_id: int
    repository_id: int
    target: str
    reason: str
    author: str
    created_ms: int
    until_ms: int | None

    def covers(self, *, namespace_id: int, repository_id: int) -> bool:
        """Return whether it stops this repository of this namespace."""
        return (self.namespace_id, self.repository_id) in (
            (EVERY, EVERY),
            (namespace_id, EVERY),
            (EVERY, repository_id),
        )


def set_hold(
    *,
    namespace_id: int = EVERY,
    repository_id: int = EVERY,
    reason: str,
    author: str,
    until_ms: int | None = None,
) -> None:
    """Hold the registry, a namespace or a repository; replaces an older hold of the same.  Idempotent.

    A running collection stops before its next batch.
    """
    execute(
        _SET,
        {
            "namespace_id": EVERY if repository_id else namespace_id,
            "repository_id": repository_id,
            "reason": reason[:500],
            "author": author[:200],
            "until_ms": until_ms,
        },
    )


def lift_hold(*, namespace_id: int = EVERY, repository_id: int = EVERY) -> bool:
    """Delete exactly this hold; False if there is none.  The next scan finds what has waited."""
    return bool(
        execute(
            "DELETE FROM dredge_hold WHERE namespace_id = %s AND repository_id = %s",
            (EVERY if repository_id else namespace_id, repository_id),
        )
    )


def list_holds() -> list[Hold]:
    """Return every hold in force, oldest first; only reads."""
    return [Hold(*row) for row in fetch(_LIST)]


def forget_expired_holds() -> int:
    """Delete expired holds.  Returns how many.  Idempotent."""
    return execute(_FORGET)
