"""Delete and restore repositories and namespaces through the façade, and update the cache."""

from __future__ import annotations

from model import registry
from model.cache import invalidation
from model.names import parse_repository
from model.registry import DeletedNamespace, DeletedRepository
from worker.jobs.context import JobContext


def delete_repository(context: JobContext, path: str) -> DeletedRepository:
    """Mark a repository for deletion; it can be restored until its purge begins."""
    deleted = registry.delete_repository(path, policy=context.policy)
    _forget_repository(context, path, deleted.id)
    return deleted


def restore_repository(context: JobContext, path: str, *, name: str | None = None) -> DeletedRepository:
    """Undo the latest deletion of a repository; `name` gives it another name in its namespace."""
    restored = registry.restore_repository(path, name=name)
    _forget_repository(context, restored.path, restored.id)
    return restored


def delete_namespace(context: JobContext, name: str) -> DeletedNamespace:
    """Mark a namespace for deletion, with everything in it."""
    deleted = registry.delete_namespace(name, policy=context.policy)
    context.cache.invalidate(*invalidation.after_namespace_change(name))
    return deleted


def restore_namespace(context: JobContext, name: str, *, new_name: str | None = None) -> DeletedNamespace:
    """Undo the latest deletion of a namespace; `new_name` gives it another name."""
    restored = registry.restore_namespace(name, new_name=new_name)
    context.cache.invalidate(*invalidation.after_namespace_change(restored.name))
    return restored


def _forget_repository(context: JobContext, path: str, repository_id: int) -> None:
    """Drop the stale entries from the cache.  Best effort: the workers do it again for the event."""
    namespace, name = parse_repository(path)
    context.cache.invalidate(*invalidation.after_repository_change(namespace, name, repository_id))
