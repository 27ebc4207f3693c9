"""What purges would delete now.  Only reads."""

from __future__ import annotations

from model.db.clock import NOW_MS_SQL
from model.db.connection import fetch
from model.db.fragments import MARKED_MS
from model.db.tables import RepositoryState
from model.gc.inspect.plan import Plan
from model.gc.repository_lock import Scope
from model.policy import Policy

_MARKED = int(RepositoryState.MARKED_FOR_DELETION)

_DUE = f"""
SELECT r.id AS repository_id, coalesce(d.original_name, r.name) AS repository,
       coalesce(n.id, 0) AS namespace_id, coalesce(g.original_username, n.username, '') AS namespace
FROM repository r LEFT JOIN "user" n ON n.id = r.namespace_user_id
LEFT JOIN deletedrepository d ON d.repository_id = r.id AND r.state = {_MARKED}
LEFT JOIN LATERAL (
    SELECT d.original_username, {MARKED_MS} AS marked_ms FROM deletednamespace d
    WHERE d.namespace_id = n.id AND NOT n.enabled) g ON true
WHERE least({MARKED_MS}, g.marked_ms) <= {NOW_MS_SQL} - %(grace_ms)s
ORDER BY 1
"""

_TAGS = "SELECT name FROM tag WHERE repository_id = %(id)s ORDER BY name, id"
_MANIFESTS = "SELECT id, digest FROM manifest WHERE repository_id = %(id)s ORDER BY digest"


def plan_purges(*, policy: Policy) -> list[Plan]:
    """Return a plan for each deleted repository whose grace, or its namespace's, is over.

    Ignores holds, delays that Quay has set, and foreign keys without a rule.  Memory grows with the number
    of rows that would be deleted.
    """
    plans = []
    for row in fetch(_DUE, {"grace_ms": policy.purge_grace_ms}):
        scope = Scope(
            row.repository_id,
            row.repository,
            row.namespace_id,
            row.namespace,
            window_ms=0,
            now_ms=0,
            has_quota=False,
            has_uploads=False,
        )
        params = {"id": row.repository_id}
        manifests = fetch(_MANIFESTS, params)
        plans.append(
            Plan(
                scope,
                tuple(tag.name for tag in fetch(_TAGS, params)),
                tuple(manifest.digest for manifest in manifests),
                tuple(manifest.id for manifest in manifests),
            )
        )
    return plans
