"""List the entries that each change makes wrong.  A commit and the consumer of its event use the same lists.

The functions only build keys; `cache.invalidate(*keys)` deletes the entries in one pipeline. An unnecessary
deletion costs one load. Names and digests that cannot be part of a key are skipped: they were never cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import ParamSpec

from model.cache import keys
from model.cache.keys import CacheKey
from model.errors import BadInput

Keys = tuple[CacheKey, ...]
P = ParamSpec("P")


def after_tag_change(
    namespace: str, repository: str, repository_id: int, digests: Iterable[str] = ()
) -> Keys:
    """A tag was created, moved, ended or restored, or its expiry changed.  `digests`: its targets."""
    return (
        *_one(keys.active_tags, repository_id),
        *_one(keys.repository_lookup, namespace, repository),
        *_each(partial(keys.repository_manifest, repository_id), digests),
    )


def after_manifest_created(
    namespace: str,
    repository: str,
    repository_id: int,
    digest: str,
    subject: str | None = None,
    blobs: Iterable[str] = (),
) -> Keys:
    """A manifest was pushed: cached answers that it, its blobs or its referrers do not exist are wrong."""
    return (
        *_one(keys.repository_manifest, repository_id, digest),
        *_each(partial(keys.manifest_referrers, repository_id), [subject] if subject else []),
        *_one(keys.repository_lookup, namespace, repository),
        *after_blobs_linked(namespace, repository, blobs),
    )


def after_blobs_linked(namespace: str, repository: str, digests: Iterable[str]) -> Keys:
    """Blobs were pushed to, mounted into or removed from a repository."""
    return (*_each(partial(keys.repository_blob, namespace, repository), digests),)


def after_collection(
    namespace: str,
    repository: str,
    repository_id: int,
    manifests: Iterable[str] = (),
    referred: Iterable[str] = (),
    blobs: Iterable[str] = (),
) -> Keys:
    """A batch of a collection committed.

    `manifests`: digests of deleted manifests; `referred`: digests of their subjects; `blobs`: digests of
    blobs that the repository no longer has.
    """
    gone = list(manifests)
    return (
        *_one(keys.active_tags, repository_id),
        *_one(keys.repository_lookup, namespace, repository),
        *_each(partial(keys.repository_manifest, repository_id), gone),
        *_each(keys.security_report, gone),
        *_each(partial(keys.manifest_referrers, repository_id), referred),
        *after_blobs_linked(namespace, repository, blobs),
    )


def after_repository_change(namespace: str, repository: str, repository_id: int) -> Keys:
    """A repository was created or deleted, or its name, state or visibility changed."""
    return (
        *_one(keys.repository_lookup, namespace, repository),
        *_one(keys.active_tags, repository_id),
        keys.catalog_page(),
    )


def after_namespace_change(namespace: str) -> Keys:
    """A namespace was enabled or disabled, or its geo restrictions changed."""
    return (*_one(keys.geo_restrictions, namespace), keys.catalog_page())


def after_blob_erased(digests: Iterable[str]) -> Keys:
    """Objects are being erased: no cached answer may say that a repository has them."""
    return (*_each(keys.blob_everywhere, digests),)


def _one(build: Callable[P, CacheKey], *parts: P.args, **named: P.kwargs) -> Iterator[CacheKey]:
    try:
        yield build(*parts, **named)
    except BadInput:
        return


def _each(build: Callable[[str], CacheKey], values: Iterable[str]) -> list[CacheKey]:
    found = []
    for value in dict.fromkeys(values):
        try:
            found.append(build(value))
        except BadInput:
            continue
    return found
