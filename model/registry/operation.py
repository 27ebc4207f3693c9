"""One tag operation: one transaction under the repository's tag lock, tried again after a conflict."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import peewee
import psycopg2.errors

from model.db.connection import in_transaction, transaction
from model.errors import Contended, ImmutableTag
from model.events import record as events
from model.gc.due.note import note_due
from model.policy import Policy
from model.registry.arguments import RepositoryRef, checked_id, find_repository
from model.repository import Repository
from model.tag import Tag, lock_repository_tags

T = TypeVar("T")
TRIES = 5


@dataclass(frozen=True)
class Operation:
    """The repository, the time (the database's clock, under the lock) and the policy of an operation.

    `due_ms` collects when the tags that it ends are past their recovery window.
    """

    repository: Repository
    now_ms: int
    policy: Policy
    due_ms: list[int] = field(default_factory=list)

    @property
    def unrecoverable_ms(self) -> int:
        """Return the time in ms; rows that end at it or before can no longer be restored."""
        return self.now_ms - self.repository.window_ms

    def record(self, type: str, tag: Tag, **more: object) -> None:
        """Write the event of one tag to the outbox, in this transaction."""
        until = None if tag.end_ms is None else tag.end_ms + self.repository.window_ms
        if until is not None:
            self.due_ms.append(until)
        data: dict[str, object] = {
            "namespace": self.repository.namespace,
            "repository": self.repository.name,
            "repository_id": self.repository.id,
            "tag": tag.name,
            "digest": tag.digest,
            "hidden": tag.hidden,
            "ended_ms": tag.end_ms,
            "recoverable_until_ms": until,
        }
        events.record(
            type,
            subject=f"{self.repository.path}:{tag.name}",
            data=data | {name: value for name, value in more.items() if value is not None},
            now_ms=self.now_ms,
            repository_id=self.repository.id,
        )

    def refuse_immutable(self, *tags: Tag) -> None:
        """Raise `ImmutableTag` if one of the tags is immutable and the policy protects immutable tags."""
        for tag in tags:
            if self.policy.immutable_tags and tag.immutable:
                raise ImmutableTag(repository=self.repository.path, tag=tag.name)


def in_repository(ref: RepositoryRef, policy: Policy, work: Callable[[Operation], T]) -> T:
    """Run `work` in one transaction under the repository's tag lock.  Returns its result.

    After a deadlock or a lost race for a millisecond, rolls back and tries again, a few times.  Inside a
    caller's transaction only the caller can do that, so raises `Contended`.
    """
    tries = 1 if in_transaction() else TRIES
    for attempt in range(1, tries + 1):
        try:
            return _once(ref, policy, work)
        except (Contended, peewee.IntegrityError) as error:
            if not isinstance(error, Contended) and not _lost_a_race(error):
                raise
            if attempt == tries:
                raise Contended(repository=ref) from error
            time.sleep(random.uniform(0, 0.01 * 2**attempt))
    raise AssertionError("unreachable")


def _once(ref: RepositoryRef, policy: Policy, work: Callable[[Operation], T]) -> T:
    with transaction():
        repository_id = find_repository(ref).id if isinstance(ref, str) else checked_id(ref, "repository")
        now_ms = lock_repository_tags(repository_id)
        # Read under the lock: its last owner may have deleted the repository or changed the window.
        operation = Operation(find_repository(repository_id), now_ms, policy)
        done = work(operation)
        if operation.due_ms:
            note_due({repository_id: min(operation.due_ms)})
        return done


def _lost_a_race(error: peewee.IntegrityError) -> bool:
    """Return whether software without our lock used the same millisecond, or purged the repository.

    The next try sees that: it takes another millisecond, or finds no repository.
    """
    cause = getattr(error, "orig", None) or error.__cause__ or error.__context__
    return isinstance(cause, psycopg2.errors.UniqueViolation | psycopg2.errors.ForeignKeyViolation)
