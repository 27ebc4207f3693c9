"""Which entries each change makes wrong: the same lists right after a commit and for its event.

Every function only builds keys; `cache.invalidate(*keys)` deletes them in one pipeline. Deleting
too much costs a load, deleting twice costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from model.cache import keys
from model.cache.keys import CacheKey


def after_tag_change(
    namespace: str, repository: str, repository_id: int, digests: Iterable[str] = ()
) -> tuple[CacheKey, ...]:
    """A tag was created, moved, ended, restored, or got another expiry; `digests` it pointed or points at."""
    return (
        keys.active_tags(repository_id),
        keys.repository_lookup(namespace, repository),
        *(keys.repository_manifest(repository_id, digest) for digest in _once(digests)),
    )


def after_manifest_created(
    namespace: str,
    repository: str,
    repository_id: int,
    digest: str,
    subject: str | None = None,
    blobs: Iterable[str] = (),
) -> tuple[CacheKey, ...]:
    """A manifest was pushed: negative answers about it, its subject's referrers and its blobs end."""
    return (
        keys.repository_manifest(repository_id, digest),
        *((keys.manifest_referrers(repository_id, subject),) if subject else ()),
        keys.repository_lookup(namespace, repository),
        *after_blobs_linked(namespace, repository, blobs),
    )


def after_blobs_linked(namespace: str, repository: str, digests: Iterable[str]) -> tuple[CacheKey, ...]:
    """Blobs were pushed to or mounted into a repository, or left it."""
    return tuple(keys.repository_blob(namespace, repository, digest) for digest in _once(digests))


def after_collection(
    namespace: str,
    repository: str,
    repository_id: int,
    manifests: Iterable[str] = (),
    referred: Iterable[str] = (),
    blobs: Iterable[str] = (),
) -> tuple[CacheKey, ...]:
    """A batch of a collection committed: digests of manifests gone, of the subjects that those had
    referred to, and of blobs that the repository no longer has."""
    gone = _once(manifests)
    return (
        keys.active_tags(repository_id),
        keys.repository_lookup(namespace, repository),
        *(keys.repository_manifest(repository_id, digest) for digest in gone),
        *(keys.security_report(digest) for digest in gone),
        *(keys.manifest_referrers(repository_id, digest) for digest in _once(referred)),
        *after_blobs_linked(namespace, repository, blobs),
    )


def after_repository_change(namespace: str, repository: str, repository_id: int) -> tuple[CacheKey, ...]:
    """A repository appeared, went, or changed its name, state or visibility."""
    return (
        keys.repository_lookup(namespace, repository),
        keys.active_tags(repository_id),
        keys.catalog_page(),
    )


def after_namespace_change(namespace: str) -> tuple[CacheKey, ...]:
    """A namespace was enabled or disabled, or its geo restrictions changed."""
    return keys.geo_restrictions(namespace), keys.catalog_page()


def after_blob_erased(digests: Iterable[str]) -> tuple[CacheKey, ...]:
    """Objects are being erased: no repository may be told any more that it has them."""
    return tuple(keys.blob_everywhere(digest) for digest in _once(digests))


def after_security_change(digests: Iterable[str]) -> tuple[CacheKey, ...]:
    """A scan ended, or reports were deleted at the scanner."""
    return tuple(keys.security_report(digest) for digest in _once(digests))


def _once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
