"""The entries that each change makes wrong. A commit and its event use the same lists.

The functions only build keys; `cache.invalidate(*keys)` deletes the entries in one pipeline. A deletion
that was not needed costs one load. A name or digest that cannot be part of a key was never cached, so it
is left out.
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
    """A tag was created, moved, ended, restored, or got another expiry; `digests` it pointed or points at."""
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
    """A manifest was pushed: negative answers about it, its subject's referrers and its blobs end."""
    return (
        *_one(keys.repository_manifest, repository_id, digest),
        *_each(partial(keys.manifest_referrers, repository_id), [subject] if subject else []),
        *_one(keys.repository_lookup, namespace, repository),
        *after_blobs_linked(namespace, repository, blobs),
    )


def after_blobs_linked(namespace: str, repository: str, digests: Iterable[str]) -> Keys:
    """Blobs were pushed to or mounted into a repository, or left it."""
    return (*_each(partial(keys.repository_blob, namespace, repository), digests),)


def after_collection(
    namespace: str,
    repository: str,
    repository_id: int,
    manifests: Iterable[str] = (),
    referred: Iterable[str] = (),
    blobs: Iterable[str] = (),
) -> Keys:
    """A batch of a collection committed: digests of manifests gone, of the subjects that those had
    referred to, and of blobs that the repository no longer has."""
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
    """A repository appeared, went, or changed its name, state or visibility."""
    return (
        *_one(keys.repository_lookup, namespace, repository),
        *_one(keys.active_tags, repository_id),
        keys.catalog_page(),
    )


def after_namespace_change(namespace: str) -> Keys:
    """A namespace was enabled or disabled, or its geo restrictions changed."""
    return (*_one(keys.geo_restrictions, namespace), keys.catalog_page())


def after_blob_erased(digests: Iterable[str]) -> Keys:
    """Objects are being erased: no repository may be answered any more that it has them."""
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
