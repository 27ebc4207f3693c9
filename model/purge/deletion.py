"""Mark repositories and namespaces for deletion, as Quay does, and remove the mark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.db.connection import execute, fetch, fetch_one
from model.db.fragments import MARKED_MS
from model.db.introspection import has_table
from model.db.tables import RepositoryState
from model.purge import quay_queue, state

_MARKED = int(RepositoryState.MARKED_FOR_DELETION)

_MARK = f"""
UPDATE repository SET state = {_MARKED}, name = gen_random_uuid()::text WHERE id = %(id)s
"""
_MARKER = """
INSERT INTO deletedrepository (repository_id, marked, original_name)
VALUES (%(id)s, to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC', %(name)s) RETURNING id
"""
_REMEMBER = """
INSERT INTO dredge_purge (kind, subject_id, state_before) VALUES ('repository', %(id)s, %(state)s)
ON CONFLICT (kind, subject_id) DO UPDATE SET state_before = excluded.state_before
"""
_DISABLE = """
UPDATE "user" SET enabled = false, username = gen_random_uuid()::text, email = gen_random_uuid()::text
WHERE id = %(id)s
"""
_NAMESPACE_MARKER = """
INSERT INTO deletednamespace (namespace_id, marked, original_username, original_email)
VALUES (%(id)s, to_timestamp(%(now_ms)s / 1000.0) AT TIME ZONE 'UTC', %(name)s, %(email)s) RETURNING id
"""

_DELETED_REPOSITORIES = f"""
SELECT r.id, n.id AS namespace_id, coalesce(g.original_username, n.username) AS namespace,
       d.original_name AS name, {MARKED_MS} AS marked_ms, p.started_ms IS NOT NULL AS begun,
       coalesce(p.state_before, 0) AS state_before, d.queue_id, p.last_error
FROM deletedrepository d JOIN repository r ON r.id = d.repository_id AND r.state = {_MARKED}
JOIN "user" n ON n.id = r.namespace_user_id
LEFT JOIN deletednamespace g ON g.namespace_id = n.id
LEFT JOIN dredge_purge p ON p.kind = 'repository' AND p.subject_id = r.id
WHERE (%(namespace)s::text IS NULL OR coalesce(g.original_username, n.username) = %(namespace)s)
  AND (%(name)s::text IS NULL OR d.original_name = %(name)s)
ORDER BY d.marked DESC, r.id DESC LIMIT %(limit)s
"""

_DELETED_NAMESPACES = f"""
SELECT n.id, d.original_username AS name, d.original_email AS email, {MARKED_MS} AS marked_ms,
       p.started_ms IS NOT NULL AS begun, d.queue_id, p.last_error
FROM deletednamespace d JOIN "user" n ON n.id = d.namespace_id AND NOT n.enabled
LEFT JOIN dredge_purge p ON p.kind = 'namespace' AND p.subject_id = n.id
WHERE %(name)s::text IS NULL OR d.original_username = %(name)s
ORDER BY d.marked DESC, n.id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True)
class DeletedRepository:
    """A repository marked for deletion, with its old name.  `begun`: it can no longer be restored."""

    id: int
    namespace_id: int
    namespace: str
    name: str
    marked_ms: int
    begun: bool
    state_before: int
    queue_id: str | None
    last_error: str | None

    @property
    def path(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class DeletedNamespace:
    """The same of a namespace."""

    id: int
    name: str
    email: str
    marked_ms: int
    begun: bool
    queue_id: str | None
    last_error: str | None


def find_deleted_repositories(
    namespace: str | None = None, name: str | None = None, *, limit: int = 1000
) -> list[DeletedRepository]:
    """Return at most `limit` deleted repositories (of that namespace, name), latest first; only reads."""
    rows = fetch(_DELETED_REPOSITORIES, {"namespace": namespace, "name": name, "limit": limit})
    return [DeletedRepository(*row) for row in rows]


def find_deleted_namespaces(name: str | None = None, *, limit: int = 1000) -> list[DeletedNamespace]:
    """Return at most `limit` deleted namespaces (of that name), latest first; only reads."""
    rows = fetch(_DELETED_NAMESPACES, {"name": name, "limit": limit})
    return [DeletedNamespace(*row) for row in rows]


def lock_repository_row(repository_id: int) -> Any:
    """Lock the row.  Returns its state, name and owner, read after the lock; None if it is gone."""
    execute("SELECT id FROM repository WHERE id = %s FOR UPDATE", (repository_id,))
    sql = "SELECT state, name, namespace_user_id FROM repository WHERE id = %s"
    return fetch_one(sql, (repository_id,))


def lock_namespace_row(namespace_id: int) -> Any:
    """Lock the row.  Returns its columns, read after the lock; None if it is gone.

    Waits at most the session's `lock_timeout` and raises `Contended` then.
    """
    execute('SELECT id FROM "user" WHERE id = %s FOR UPDATE', (namespace_id,))
    sql = 'SELECT username, email, enabled, robot FROM "user" WHERE id = %s'
    return fetch_one(sql, (namespace_id,))


def mark_repository(
    repository_id: int, *, namespace: str, name: str, state_before: int, grace_ms: int, now_ms: int
) -> None:
    """Mark a locked repository for deletion: another name, no stars, a marker, and an item in Quay's queue
    that becomes available when the grace is over.
    """
    if has_table("star"):
        execute("DELETE FROM star WHERE repository_id = %s", (repository_id,))
    execute(_MARK, {"id": repository_id})
    marker = fetch_one(_MARKER, {"id": repository_id, "now_ms": now_ms, "name": name}).id
    execute(_REMEMBER, {"id": repository_id, "state": state_before})
    item = quay_queue.put(
        f"repositorygc/{namespace}/{repository_id}/",
        {"marker_id": marker, "original_name": name},
        from_ms=now_ms + grace_ms,
    )
    execute("UPDATE deletedrepository SET queue_id = %s WHERE id = %s", (item, marker))


def unmark_repository(deleted: DeletedRepository, *, name: str) -> None:
    """Restore the name and state of a locked repository, and cancel its purge."""
    quay_queue.remove(deleted.queue_id)
    state.forget("repository", deleted.id)
    execute("DELETE FROM deletedrepository WHERE repository_id = %s", (deleted.id,))
    sql = "UPDATE repository SET state = %s, name = %s WHERE id = %s"
    execute(sql, (deleted.state_before, name, deleted.id))


def mark_namespace(namespace_id: int, *, name: str, email: str, grace_ms: int, now_ms: int) -> None:
    """Mark a locked namespace for deletion: disabled, other names, a marker, and an item in Quay's queue."""
    execute(_DISABLE, {"id": namespace_id})
    params = {"id": namespace_id, "now_ms": now_ms, "name": name, "email": email}
    marker = fetch_one(_NAMESPACE_MARKER, params).id
    item = quay_queue.put(
        f"namespacegc/{namespace_id}/",
        {"marker_id": marker, "original_username": name},
        from_ms=now_ms + grace_ms,
    )
    execute("UPDATE deletednamespace SET queue_id = %s WHERE id = %s", (item, marker))


def unmark_namespace(deleted: DeletedNamespace, *, name: str) -> None:
    """Restore the names of a locked namespace, enable it, and cancel its purge."""
    quay_queue.remove(deleted.queue_id)
    state.forget("namespace", deleted.id)
    execute("DELETE FROM deletednamespace WHERE namespace_id = %s", (deleted.id,))
    sql = 'UPDATE "user" SET enabled = true, username = %s, email = %s WHERE id = %s'
    execute(sql, (name, deleted.email, deleted.id))
