"""The reads of a registry's hot path, in front of the façade: nine kinds, each with its loader.

    cached = CachedLookups(open_cache("redis://cache:6379/0"))  # of model.cache.open
    cached.manifest(repository_id, digest)
    with cached.changing_tags("acme/app"):
        registry.delete_tag("acme/app", "v1")

Values are what JSON can carry, the same after a hit and after a miss; None and what cannot exist
are not cached. A broken cache changes nothing but the time it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ParamSpec

from model.cache import CacheKey, DataModelCache, invalidation, keys
from model.db.clock import now_ms
from model.db.connection import connection
from model.errors import BadInput, NoSuchRepository
from model.registry import loaders
from model.registry.arguments import RepositoryRef, find_repository
from model.registry.loaders import Json

P = ParamSpec("P")


@dataclass(frozen=True)
class UpstreamToken:
    """A token of an upstream registry: a secret, so it is in no log, and for how long it is good."""

    token: str = field(repr=False)
    lifetime_s: float


class CachedLookups:
    """Reads through one cache; threads may share it."""

    def __init__(self, cache: DataModelCache) -> None:
        self._cache = cache

    def repository(
        self, namespace: str, name: str, *, manifest_ref: str | None = None, kind: str | None = None
    ) -> Json | None:
        """A repository by name; `manifest_ref` keeps a copy for each reference that somebody pulls by."""
        load = partial(loaders.load_repository, namespace, name, kind=kind)
        found: Json | None = self._read(
            _key(keys.repository_lookup, namespace, name, manifest_ref, kind), load
        )
        return found

    def manifest(self, repository_id: int, digest: str) -> Json | None:
        """A manifest with its text."""
        load = partial(loaders.load_manifest, repository_id, digest)
        found: Json | None = self._read(_key(keys.repository_manifest, repository_id, digest), load)
        return found

    def active_tags(self, repository_id: int, *, last: str | None = None, limit: int = 100) -> Json:
        """A page of active tags; kept no longer than the first of them lives."""
        first_end: list[float] = []

        def load() -> Json:
            page = loaders.load_active_tags(repository_id, last=last, limit=limit)
            ends = [tag["end_ms"] for tag in page["tags"] if tag["end_ms"] is not None]
            if ends:
                with connection():
                    first_end.append((min(ends) - now_ms()) / 1000)
            return page

        key = _key(keys.active_tags, repository_id, last, limit)
        found: Json = self._read(key, load, lambda _page: first_end[0] if first_end else _FOR_EVER)
        return found

    def blob(self, namespace: str, name: str, digest: str, *, version: int = 2) -> Json | None:
        """A ready blob as one repository sees it."""
        load = partial(loaders.load_blob, namespace, name, digest)
        found: Json | None = self._read(_key(keys.repository_blob, namespace, name, digest, version), load)
        return found

    def catalogue_page(self, username: str | None, *, start_id: int = 0, limit: int = 100) -> Json:
        """A page of the repositories that a user (None: anybody) may see."""
        load = partial(loaders.load_catalogue_page, username, start_id=start_id, limit=limit)
        found: Json = self._read(_key(keys.catalog_page, username, start_id, limit), load)
        return found

    def geo_restrictions(self, namespace: str) -> list[str]:
        """Codes of the regions that may not pull from a namespace."""
        load = partial(loaders.load_geo_restrictions, namespace)
        found: list[str] = self._read(_key(keys.geo_restrictions, namespace), load)
        return found

    def security_report(self, digest: str) -> Json | None:
        """The best that the scanner has said about a digest."""
        load = partial(loaders.load_security_report, digest)
        found: Json | None = self._read(_key(keys.security_report, digest), load)
        return found

    def referrers(self, repository_id: int, digest: str, *, artifact_type: str | None = None) -> list[Json]:
        """Descriptors of what names the digest as its subject."""
        load = partial(loaders.load_referrers, repository_id, digest, artifact_type=artifact_type)
        found: list[Json] = self._read(
            _key(keys.manifest_referrers, repository_id, digest, artifact_type), load
        )
        return found

    def upstream_token(
        self, organization: str, registry: str, repository: str, fetch: Callable[[], UpstreamToken]
    ) -> str:
        """A token for an upstream registry, `fetch`ed when there is none that is good for a while yet.

        It is given up a tenth of its life early (at most ten seconds), so that it ends in no caller's hands.
        """

        def load() -> Json:
            fetched = fetch()
            return {"token": fetched.token, "lifetime_s": fetched.lifetime_s}

        key = _key(keys.upstream_token, organization, registry, repository)
        found: Json = self._read(key, load, lambda value: _safely(value["lifetime_s"]))
        return str(found["token"])

    @contextmanager
    def changing_tags(self, repository: RepositoryRef) -> Iterator[None]:
        """Forget what tag operations in the block make wrong, when it ends; put it around the transaction.

        Also when the block fails: a commit whose answer was lost may still have happened.
        """
        wrong = _keys_of_tags(repository)
        try:
            yield
        finally:
            self._cache.invalidate(*wrong)

    def _read(
        self, key: CacheKey | None, load: Callable[[], Any], lifetime: Callable[[Any], float] | None = None
    ) -> Any:
        if key is None:
            return load()
        return self._cache.retrieve(key, load, lifetime=lifetime)


_FOR_EVER = 1e9


def _key(build: Callable[P, CacheKey], *parts: P.args, **named: P.kwargs) -> CacheKey | None:
    """The key, or None for arguments that no entry can have: the loader knows what they mean."""
    try:
        return build(*parts, **named)
    except BadInput:
        return None


@connection()
def _keys_of_tags(repository: RepositoryRef) -> tuple[CacheKey, ...]:
    try:
        where = find_repository(repository)
    except (NoSuchRepository, BadInput):
        return ()
    return invalidation.after_tag_change(where.namespace, where.name, where.id)


def _safely(lifetime_s: float) -> float:
    return lifetime_s - min(10.0, lifetime_s / 10)
