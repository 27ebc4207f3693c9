"""Drop what a batch removed from the data-model cache."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.cache import DataModelCache, invalidation
from model.gc.repository_lock import Scope


@dataclass(frozen=True)
class Removed:
    """What one batch removed from a repository: (digest, subject) of manifests, digests of blobs."""

    scope: Scope
    manifests: Iterable[tuple[str, str | None]]
    blobs: Iterable[str]


def forget_removed(cache: DataModelCache, removed: Iterable[Removed]) -> None:
    """Drop removed rows of any number of repositories from the cache, in one round trip.

    Best effort: if Redis is unavailable, the workers drop the entries when they receive the event.
    """
    if not cache.is_off:
        cache.invalidate(*[key for one in removed for key in _stale_keys(one)])


def _stale_keys(removed: Removed) -> invalidation.Keys:
    pairs = list(removed.manifests)
    return invalidation.after_collection(
        removed.scope.namespace,
        removed.scope.repository,
        removed.scope.repository_id,
        manifests=[digest for digest, _ in pairs],
        referred=[subject for _, subject in pairs if subject],
        blobs=removed.blobs,
    )
