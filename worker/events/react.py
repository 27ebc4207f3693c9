"""Handle an event in a worker: drop stale cache entries, and enqueue collections of new garbage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model.cache import invalidation
from model.cache.keys import CacheKey
from model.db.connection import connection
from model.errors import RegistryError
from model.events.record import (
    BLOB_ERASED,
    MANIFEST_COLLECTED,
    NAMESPACE_DELETED,
    NAMESPACE_PURGED,
    NAMESPACE_RESTORED,
    REPOSITORY_DELETED,
    REPOSITORY_PURGED,
    REPOSITORY_RESTORED,
)
from model.gc.due.note import note_due
from worker.events.message import CloudEvent
from worker.jobs.context import JobContext
from worker.jobs.due import enqueue_due

_OF_REPOSITORIES = {REPOSITORY_DELETED, REPOSITORY_RESTORED, REPOSITORY_PURGED}
_OF_NAMESPACES = {NAMESPACE_DELETED, NAMESPACE_RESTORED, NAMESPACE_PURGED}


class CacheBehind(RegistryError):
    """The cache could not be invalidated yet."""

    retryable = True


def react(context: JobContext, events: Sequence[CloudEvent]) -> None:
    """Record repositories that the events make due, enqueue those due now, then drop stale cache entries.

    Idempotent.  Must be repeated after `DatabaseUnavailable`, `BrokerUnavailable` or `CacheBehind`.  A
    malformed event raises an error such as `KeyError` before anything changes.
    """
    keys = [key for event in events for key in stale_keys(event)]
    due = earliest_due(events)
    if due:
        with connection():
            note_due(due)
        enqueue_due(context)
    if keys and not context.cache.invalidate(*keys):
        raise CacheBehind


def earliest_due(events: Sequence[CloudEvent]) -> dict[int, int]:
    """Map each repository to the time, in milliseconds, when its first ended tag becomes unrecoverable."""
    due: dict[int, int] = {}
    for event in events:
        data = event["data"]
        end_ms, repository_id = data.get("recoverable_until_ms"), data.get("repository_id")
        if end_ms is not None and repository_id is not None:
            due[int(repository_id)] = min(int(end_ms), due.get(int(repository_id), int(end_ms)))
    return due


def stale_keys(event: CloudEvent) -> Iterator[CacheKey]:
    """Yield the keys of the cache entries that the event makes stale."""
    data: Mapping[str, Any] = event["data"]
    kind = str(event["type"])
    if kind.startswith("registry.tag."):
        digests = [data[name] for name in ("digest", "previous_digest") if data.get(name)]
        yield from invalidation.after_tag_change(
            data["namespace"], data["repository"], data["repository_id"], digests
        )
    elif kind == MANIFEST_COLLECTED:
        items = data.get("items", [data])
        yield from invalidation.after_collection(
            data["namespace"],
            data["repository"],
            data["repository_id"],
            manifests=[item["digest"] for item in items],
            referred=[item["referred"] for item in items if item.get("referred")],
            blobs=data.get("blobs", []),
        )
    elif kind in _OF_REPOSITORIES:
        yield from invalidation.after_repository_change(
            data["namespace"], data["repository"], data["repository_id"]
        )
    elif kind in _OF_NAMESPACES:
        yield from invalidation.after_namespace_change(data["namespace"])
    elif kind == BLOB_ERASED:
        digests = [item["digest"] for item in data.get("items", [data]) if item.get("digest")]
        yield from invalidation.after_blob_erased(digests)
