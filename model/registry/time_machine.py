"""The time machine: the history of tags, restores, and deletion for good."""

from __future__ import annotations

from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import FeatureDisabled, NotRestorable
from model.events import record as events
from model.policy import DEFAULT, Policy
from model.registry.arguments import (
    RepositoryRef,
    checked_digest,
    checked_flag,
    checked_limit,
    checked_name,
    checked_position,
    find_repository,
)
from model.registry.ending import end_siblings, end_tags, reset_children
from model.registry.operation import Operation, in_repository
from model.registry.tags import move_name
from model.tag import Tag
from model.tag.history import History, Position, find_history, find_recoverable
from model.tag.lifetime import expire_tags, hold_manifest
from model.tag.rows import find_alive


@connection()
def list_tag_history(
    repository: RepositoryRef, *, name: str | None = None, before: Position | None = None, limit: int = 100
) -> History:
    """Return at most `limit` visible tags that are alive or can still be restored, latest first.

    `before` is the `next` of the page before.  Leaves out tags past their window, which cannot be
    restored.
    """
    if name is not None:
        checked_name(name)
    if before is not None:
        before = checked_position(before)
    checked_limit(limit)
    found = find_repository(repository)
    return find_history(
        found.id, now_ms=now_ms(), window_ms=found.window_ms, name=name, before=before, limit=limit
    )


def restore_tag(repository: RepositoryRef, name: str, digest: str, *, policy: Policy = DEFAULT) -> Tag:
    """Point a name again to a manifest that it pointed to within the recovery window.

    Inserts a new row with `reversion`, and ends an alive row of the name.  Records `tag.restored`.  Raises
    `NotRestorable` if the window has closed (to the millisecond) or the name never pointed there, and
    `ImmutableTag` if the alive row may not move; then nothing is changed.  After success everything that
    the tag needs exists and is kept.  Idempotent: does nothing if the name already points there.
    """
    checked_name(name)
    checked_digest(digest)

    def work(operation: Operation) -> Tag:
        where, at_ms = operation.repository, operation.now_ms
        alive = find_alive(where.id, name, now_ms=at_ms, lock=True)
        if alive and alive[0].digest == digest:
            return alive[0]
        # One statement locks and tests the row: a collection has either deleted it before, or skips it
        # until this transaction commits, and then finds the manifest in use.
        dead = find_recoverable(where.id, name, digest, now_ms=at_ms, window_ms=where.window_ms, limit=1)
        if not dead:
            raise NotRestorable(repository=where.path, tag=name, digest=digest, window_ms=where.window_ms)
        operation.refuse_immutable(*alive)
        held = hold_manifest(where.id, dead[0].manifest_id)
        made = move_name(operation, alive, name, held.id, held.digest, reversion=True)
        operation.record(events.TAG_RESTORED, made, previous_digest=alive[0].digest if alive else None)
        end_siblings(operation, alive)
        return made

    return in_repository(repository, policy, work)


def delete_tag_permanently(
    repository: RepositoryRef,
    name: str,
    digest: str,
    *,
    include_submanifests: bool = False,
    is_alive: bool = False,
    policy: Policy = DEFAULT,
) -> tuple[Tag, ...]:
    """Make a name's rows on one manifest unrecoverable.  Returns the rows, each with an end of its own.

    Takes the alive tag with `is_alive`, else the dead rows that could still be restored.  Moves their ends
    to before the window; with `include_submanifests` also the ends of the temporary tags of the
    manifest's children.  So all of it is garbage at once.  Records `tag.permanently_deleted` for the
    name.  Raises `FeatureDisabled` if the policy does not allow it, and `ImmutableTag`.  Idempotent: does
    nothing if no row matches.
    """
    checked_name(name)
    checked_digest(digest)
    checked_flag(include_submanifests, "include_submanifests")
    checked_flag(is_alive, "is_alive")
    if not policy.permanently_delete_tags:
        raise FeatureDisabled("Deleting tags permanently is switched off: DREDGE_PERMANENTLY_DELETE_TAGS")

    def work(operation: Operation) -> tuple[Tag, ...]:
        rows = _matching(operation, name, digest, is_alive)
        operation.refuse_immutable(*rows)
        if not rows:
            return ()
        beyond_ms = operation.unrecoverable_ms
        if is_alive:
            gone = end_tags(operation, rows, type=events.TAG_PERMANENTLY_DELETED, end_ms=beyond_ms)
        else:
            gone = expire_tags(rows, end_ms=beyond_ms, now_ms=operation.now_ms)
            operation.record(events.TAG_PERMANENTLY_DELETED, gone[0])
        if include_submanifests and policy.reset_child_manifest_expiration:
            reset_children(gone, end_ms=beyond_ms, after_ms=beyond_ms)
        return gone

    return in_repository(repository, policy, work)


def _matching(operation: Operation, name: str, digest: str, is_alive: bool) -> tuple[Tag, ...]:
    where, at_ms = operation.repository, operation.now_ms
    if is_alive:
        alive = find_alive(where.id, name, now_ms=at_ms, lock=True)
        return tuple(tag for tag in alive if tag.digest == digest)
    return find_recoverable(where.id, name, digest, now_ms=at_ms, window_ms=where.window_ms)
