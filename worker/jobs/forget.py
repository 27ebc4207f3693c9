"""Drop what a batch removed from the data-model cache."""

from __future__ import annotations

from collections.abc import Iterable

from model.cache import DataModelCache, invalidation
from model.gc.repository_lock import Scope


def forget_removed(
    cache: DataModelCache,
    scope: Scope,
    manifests: Iterable[tuple[str, str | None]],
    blobs: Iterable[str],
) -> None:
    """Drop a repository's removed rows from the cache: (digest, subject) of manifests, digests of blobs.

    Best effort: if Redis is unavailable, the workers drop the entries when they receive the event.
    """
    if cache.is_off:
        return
    pairs = list(manifests)
    cache.invalidate(
        *invalidation.after_collection(
            scope.namespace,
            scope.repository,
            scope.repository_id,
            manifests=[digest for digest, _ in pairs],
            referred=[subject for _, subject in pairs if subject],
            blobs=blobs,
        )
    )
