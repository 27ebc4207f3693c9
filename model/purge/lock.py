"""Lock a deleted repository or namespace for one batch of its purge."""

from __future__ import annotations

from dataclasses import dataclass

from model.controls.gate import find_holds, outside_of_window
from model.db.clock import NOW_MS_SQL
from model.db.connection import fetch_one
from model.db.fragments import MARKED_MS
from model.db.tables import RepositoryState
from model.gc.repository_lock import Scope
from model.policy import Policy
from model.purge import quay_queue

_MARKED = int(RepositoryState.MARKED_FOR_DELETION)

# SKIP LOCKED: another purge, or a restore, has the row.  NO KEY UPDATE: a push that found the repository
# before its deletion does not wait; the next batch purges what it adds.
_LOCK_REPOSITORY = f"""
SELECT id FROM repository WHERE id = %(id)s AND state = {_MARKED} FOR NO KEY UPDATE SKIP LOCKED
"""
_LOCK_NAMESPACE = """
SELECT id FROM "user" WHERE id = %(id)s AND NOT enabled FOR NO KEY UPDATE SKIP LOCKED
"""

# FOR UPDATE SKIP LOCKED: a transaction that adds a row that refers to this one has locked its key.
_CLOSE_REPOSITORY = "SELECT id FROM repository WHERE id = %(id)s FOR UPDATE SKIP LOCKED"
_CLOSE_NAMESPACE = 'SELECT id FROM "user" WHERE id = %(id)s FOR UPDATE SKIP LOCKED'

# With the name before the deletion, unless another repository has that name now.
_READ_REPOSITORY = f"""
SELECT r.id AS repository_id,
       CASE WHEN EXISTS (SELECT FROM repository o WHERE o.namespace_user_id = r.namespace_user_id
                         AND o.name = d.original_name) THEN r.name ELSE d.original_name END AS repository,
       coalesce(n.id, 0) AS namespace_id, coalesce(g.original_username, n.username, '') AS namespace,
       coalesce(n.removed_tag_expiration_s, 0) * 1000 AS window_ms, {NOW_MS_SQL} AS now_ms,
       EXISTS (SELECT FROM quotarepositorysize q WHERE q.repository_id = r.id)
           OR EXISTS (SELECT FROM quotanamespacesize q WHERE q.namespace_user_id = n.id) AS has_quota,
       true AS has_uploads, d.queue_id, p.started_ms IS NOT NULL AS begun,
       {MARKED_MS} + %(grace_ms)s <= {NOW_MS_SQL} OR o.started_ms IS NOT NULL AS due,
       coalesce(o.started_ms, {MARKED_MS}) AS since_ms,
       CASE WHEN o.started_ms IS NULL THEN %(grace_ms)s ELSE 0 END AS waits_ms
FROM repository r JOIN deletedrepository d ON d.repository_id = r.id
LEFT JOIN "user" n ON n.id = r.namespace_user_id
LEFT JOIN deletednamespace g ON g.namespace_id = n.id
LEFT JOIN dredge_purge p ON p.kind = 'repository' AND p.subject_id = r.id
LEFT JOIN dredge_purge o ON o.kind = 'namespace' AND o.subject_id = n.id
WHERE r.id = %(id)s
"""

_READ_NAMESPACE = f"""
SELECT d.original_username AS namespace, {NOW_MS_SQL} AS now_ms, d.queue_id, {MARKED_MS} AS marked_ms,
       p.started_ms IS NOT NULL AS begun, {MARKED_MS} + %(grace_ms)s <= {NOW_MS_SQL} AS due
FROM deletednamespace d LEFT JOIN dredge_purge p ON p.kind = 'namespace' AND p.subject_id = d.namespace_id
WHERE d.namespace_id = %(id)s
"""


@dataclass(frozen=True)
class DoomedRepository:
    """A repository that may be purged now; `begun` if an earlier batch has deleted some of it.

    Its purge may begin `waits_ms` after `since_ms`: after the grace from its deletion, or at once if the
    purge of its namespace has begun.
    """

    scope: Scope
    queue_id: str | None
    begun: bool
    since_ms: int
    waits_ms: int


@dataclass(frozen=True)
class DoomedNamespace:
    """A namespace that may be purged now, with its old name."""

    namespace_id: int
    name: str
    now_ms: int
    marked_ms: int
    queue_id: str | None
    begun: bool


def lock_repository(repository_id: int, *, policy: Policy) -> DoomedRepository | None:
    """Lock a deleted repository whose grace is over, for this transaction; None if no purge may run.

    Also None while it is on hold, while a worker of Quay purges it, or during the delay that Quay set.
    """
    if fetch_one(_LOCK_REPOSITORY, {"id": repository_id}) is None:
        return None
    # A new statement: it sees what the last owner of the lock has committed.
    row = fetch_one(_READ_REPOSITORY, {"id": repository_id, "grace_ms": policy.purge_grace_ms})
    if row is None or not row.due or _is_held(policy, row.now_ms, row.namespace_id, repository_id):
        return None
    if not quay_queue.claim(row.queue_id, now_ms=row.now_ms):
        return None
    return DoomedRepository(Scope(*row[:8]), row.queue_id, row.begun, row.since_ms, row.waits_ms)


def lock_namespace(namespace_id: int, *, policy: Policy) -> DoomedNamespace | None:
    """Do the same for a deleted namespace."""
    if fetch_one(_LOCK_NAMESPACE, {"id": namespace_id}) is None:
        return None
    row = fetch_one(_READ_NAMESPACE, {"id": namespace_id, "grace_ms": policy.purge_grace_ms})
    if row is None or not row.due or _is_held(policy, row.now_ms, namespace_id):
        return None
    if not quay_queue.claim(row.queue_id, now_ms=row.now_ms):
        return None
    return DoomedNamespace(namespace_id, row.namespace, row.now_ms, row.marked_ms, row.queue_id, row.begun)


def _is_held(policy: Policy, now_ms: int, namespace_id: int, repository_id: int = 0) -> bool:
    """Return whether it is on hold, or the window is closed.

    Each batch calls it, so either stops a purge within one batch.
    """
    if policy.ignores_holds:
        return False
    return bool(outside_of_window(policy, now_ms=now_ms)) or bool(find_holds({repository_id: namespace_id}))


def close_repository(repository_id: int) -> bool:
    """Block new references to the repository until the commit; False while a transaction adds one."""
    return fetch_one(_CLOSE_REPOSITORY, {"id": repository_id}) is not None


def close_namespace(namespace_id: int) -> bool:
    """Do the same for a namespace."""
    return fetch_one(_CLOSE_NAMESPACE, {"id": namespace_id}) is not None
