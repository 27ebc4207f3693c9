"""Functions that the commands about repositories and about namespaces share."""

from __future__ import annotations

from model.registry import DeletedNamespace, DeletedRepository
from worker.cli import tables
from worker.cli.times import when
from worker.settings import Settings


def restorable_for(settings: Settings) -> str:
    """Return how long a deletion can be undone, as the end of a sentence."""
    grace_ms = settings.policy.purge_grace_ms
    return f"can be restored for {tables.human_ms(grace_ms)}" if grace_ms else "cannot be restored"


def row(
    deleted: DeletedRepository | DeletedNamespace, settings: Settings
) -> tuple[str | None, str | None, str | None]:
    """Return the cells of a deletion: its time, until when it can be undone, and why its purge fails."""
    until = "purge has begun" if deleted.begun else when(deleted.marked_ms + settings.policy.purge_grace_ms)
    return when(deleted.marked_ms), until, deleted.last_error
