"""Delete repositories and namespaces, and restore them before their purge begins."""

from __future__ import annotations

from dataclasses import replace

import peewee

from model import namespace as namespaces
from model.db.clock import now_ms as read_clock
from model.db.connection import transaction
from model.db.tables import RepositoryState
from model.errors import (
    BadInput,
    NameTaken,
    NoSuchNamespace,
    NoSuchRepository,
    NothingDeleted,
    NotRestorable,
)
from model.events import record as events
from model.names import parse_namespace, parse_repository
from model.policy import DEFAULT, Policy
from model.purge import deletion, state
from model.purge.deletion import DeletedNamespace, DeletedRepository
from model.registry.arguments import RepositoryRef, find_repository
from model.tag import lock_repository_tags

# Rows that a deletion deletes at once; a restore does not bring them back.
LOST_WITH_REPOSITORY = "its stars"


def delete_repository(ref: RepositoryRef, *, policy: Policy = DEFAULT) -> DeletedRepository:
    """Mark a repository for deletion.  From the commit on nobody sees it; it can be restored until its
    grace is over and its purge has begun.

    Deletes its stars at once.  Records `registry.repository.deleted`.  Raises `NoSuchRepository`, also at
    a second call.
    """
    with transaction():
        found = find_repository(ref)
        # The same lock as a tag operation's: that operation commits first, or finds no repository.
        now_ms = lock_repository_tags(found.id)
        row = deletion.lock_repository_row(found.id)
        if row is None or row.state == RepositoryState.MARKED_FOR_DELETION:
            raise NoSuchRepository(repository=ref)
        found = find_repository(found.id)
        deletion.mark_repository(
            found.id,
            namespace=found.namespace,
            name=found.name,
            state_before=row.state,
            grace_ms=policy.purge_grace_ms,
            now_ms=now_ms,
        )
        until_ms = now_ms + policy.purge_grace_ms
        _record(events.REPOSITORY_DELETED, found.namespace, found.name, found.id, now_ms, until_ms)
        return deletion.find_deleted_repositories(found.namespace, found.name, limit=1)[0]


def restore_repository(path: str, *, name: str | None = None) -> DeletedRepository:
    """Undo the latest deletion of `namespace/name`; `name` gives it another name in its namespace.

    Returns it with the name that it has now.
    Its tags, manifests and permissions are as they were.  Records `registry.repository.restored`.
    Raises `NotRestorable` if its purge has begun or nothing was deleted under that name, and `NameTaken`.
    """
    parsed = parse_repository(path)
    wanted = parsed.name if name is None else parse_repository(f"{parsed.namespace}/{name}").name
    try:
        with transaction():
            deleted = _latest_repository(parsed.namespace, parsed.name)
            now_ms = lock_repository_tags(deleted.id)
            row = deletion.lock_repository_row(deleted.id)
            # Read under the row's lock, which a purge also takes: a later purge finds the restored row.
            if row is None or row.state != RepositoryState.MARKED_FOR_DELETION or _has_begun(deleted):
                raise NotRestorable("The purge has begun: it cannot be restored", repository=path)
            if namespaces.get(deleted.namespace) is None:
                raise NotRestorable("Its namespace is deleted: restore that first", repository=path)
            deletion.unmark_repository(deleted, name=wanted)
            _record(events.REPOSITORY_RESTORED, deleted.namespace, wanted, deleted.id, now_ms)
            return replace(deleted, name=wanted)
    except peewee.IntegrityError as error:
        raise NameTaken(
            f"A repository {parsed.namespace}/{wanted} exists now: restore it under another name"
        ) from error


def delete_namespace(name: str, *, policy: Policy = DEFAULT) -> DeletedNamespace:
    """Mark a namespace and everything in it for deletion.  It can be restored until its purge begins.

    Records `registry.namespace.deleted`.  Raises `NoSuchNamespace`, also at a second call, and `BadInput`
    for a robot, which belongs to its namespace.
    """
    parse_namespace(name)
    with transaction():
        now_ms = read_clock()
        found = namespaces.get(name)
        row = None if found is None else deletion.lock_namespace_row(found.id)
        if found is None or row is None or row.username != name or not row.enabled:
            raise NoSuchNamespace(namespace=name)
        if row.robot:
            raise BadInput("A robot is deleted with its namespace, or in Quay", namespace=name)
        deletion.mark_namespace(
            found.id, name=name, email=row.email, grace_ms=policy.purge_grace_ms, now_ms=now_ms
        )
        about = {"namespace": name, "namespace_id": found.id}
        until = {"restorable_until_ms": now_ms + policy.purge_grace_ms}
        events.record(events.NAMESPACE_DELETED, subject=name, data=about | until, now_ms=now_ms)
        return deletion.find_deleted_namespaces(name, limit=1)[0]


def restore_namespace(name: str, *, new_name: str | None = None) -> DeletedNamespace:
    """Undo the latest deletion of a namespace; `new_name` gives it another name.

    Returns it with the name that it has now.
    Records `registry.namespace.restored`.  Raises `NotRestorable` if its purge has begun or no namespace of
    that name was deleted, and `NameTaken`.
    """
    wanted = parse_namespace(name if new_name is None else new_name)
    try:
        with transaction():
            now_ms = read_clock()
            found = deletion.find_deleted_namespaces(parse_namespace(name), limit=1)
            row = deletion.lock_namespace_row(found[0].id) if found else None
            if row is None or row.enabled:
                raise NothingDeleted(namespace=name)
            if state.has_begun("namespace", found[0].id):
                raise NotRestorable("The namespace's purge has begun: it cannot be restored", namespace=name)
            deletion.unmark_namespace(found[0], name=wanted)
            about = {"namespace": wanted, "namespace_id": found[0].id}
            events.record(events.NAMESPACE_RESTORED, subject=wanted, data=about, now_ms=now_ms)
            return replace(found[0], name=wanted)
    except peewee.IntegrityError as error:
        raise NameTaken(f"A namespace {wanted} exists now: restore it under another name") from error


def list_deleted_repositories(namespace: str | None = None, *, limit: int = 1000) -> list[DeletedRepository]:
    """Return at most `limit` deleted repositories, latest first; only reads."""
    return deletion.find_deleted_repositories(namespace, limit=limit)


def list_deleted_namespaces(*, limit: int = 1000) -> list[DeletedNamespace]:
    """Return at most `limit` deleted namespaces, latest first; only reads."""
    return deletion.find_deleted_namespaces(limit=limit)


def _latest_repository(namespace: str, name: str) -> DeletedRepository:
    found = deletion.find_deleted_repositories(namespace, name, limit=1)
    if not found:
        raise NothingDeleted(repository=f"{namespace}/{name}")
    return found[0]


def _has_begun(deleted: DeletedRepository) -> bool:
    return state.has_begun("repository", deleted.id)


def _record(
    type: str, namespace: str, name: str, repository_id: int, now_ms: int, until_ms: int | None = None
) -> None:
    about: dict[str, object] = {"namespace": namespace, "repository": name, "repository_id": repository_id}
    if until_ms is not None:
        about["restorable_until_ms"] = until_ms
    events.record(type, subject=f"{namespace}/{name}", data=about, now_ms=now_ms, repository_id=repository_id)
