"""The nine kinds as tests see them: a key, another one with the same name, and what spoils a value."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from model.cache import CacheKey, DataModelCache, Outcome, keys
from model.cache.backend import Backend

DIGEST = "sha256:" + "ab" * 32
OTHER_DIGEST = "sha256:" + "cd" * 32


@dataclass(frozen=True)
class Kind:
    """One kind of entry."""

    key: CacheKey
    sibling: CacheKey  # another entry, which an invalidation of `key` leaves alone
    namesake: CacheKey | None = None  # another entry whose name is the same


KINDS = {
    keys.REPOSITORY_LOOKUP: Kind(
        keys.repository_lookup("a_b", "c"),
        keys.repository_lookup("x", "y"),
        keys.repository_lookup("a", "b_c"),
    ),
    keys.REPOSITORY_MANIFEST: Kind(keys.repository_manifest(7, DIGEST), keys.repository_manifest(8, DIGEST)),
    keys.ACTIVE_TAGS: Kind(keys.active_tags(7, "v1", 50), keys.active_tags(8, "v1", 50)),
    keys.REPOSITORY_BLOB: Kind(
        keys.repository_blob("a_b", "c", DIGEST),
        keys.repository_blob("a_b", "c", OTHER_DIGEST),
        keys.repository_blob("a", "b_c", DIGEST),
    ),
    keys.CATALOG_PAGE: Kind(
        keys.catalog_page(None, 4, 50), keys.geo_restrictions("me"), keys.catalog_page("(anon)", 4, 50)
    ),
    keys.GEO_RESTRICTIONS: Kind(keys.geo_restrictions("a"), keys.geo_restrictions("b")),
    keys.SECURITY_REPORT: Kind(keys.security_report(DIGEST), keys.security_report(OTHER_DIGEST)),
    keys.MANIFEST_REFERRERS: Kind(
        keys.manifest_referrers(7, DIGEST, "application/spdx"), keys.manifest_referrers(8, DIGEST)
    ),
    keys.UPSTREAM_TOKEN: Kind(
        keys.upstream_token("org", "quay.io", "a/b"), keys.upstream_token("org", "quay.io", "a/c")
    ),
}


class Notes:
    """A recorder that remembers everything."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()
        self.seconds: Counter[str] = Counter()
        self._lock = threading.Lock()

    def record(self, kind: str, outcome: Outcome, seconds: float, count: int = 1) -> None:
        with self._lock:
            self.seen[kind, outcome] += count
            self.seconds[outcome] += seconds  # type: ignore[assignment]

    def of(self, outcome: str) -> int:
        """How often it happened, for any kind."""
        return sum(count for (_, what), count in self.seen.items() if what == outcome)


@dataclass
class Loader:
    """Returns `value` and counts how often it was asked."""

    value: Any = field(default_factory=lambda: {"digest": DIGEST, "bytes": "ü€", "size": 3, "none": None})
    calls: int = 0
    before: Callable[[], object] | None = None

    def __call__(self) -> Any:
        self.calls += 1
        if self.before:
            self.before()
        return self.value


def backend_of(cache: DataModelCache) -> Backend:
    """The backend, to spoil what is stored there."""
    return cache._backend


def name_of(cache: DataModelCache, key: CacheKey) -> str:
    """The name where `key` is stored now."""
    if not key.group_in_name:
        return key.name
    generation = backend_of(cache).get(str(key.group))
    assert generation is not None
    return key.name + generation.decode()


def put(cache: DataModelCache, key: CacheKey, raw: bytes) -> None:
    """Store `raw` where `key` is, whatever is there."""
    backend, name = backend_of(cache), name_of(cache, key)
    backend.forget([name])
    assert backend.swap(name, None, raw, 60_000) is None


def stored_bytes(cache: DataModelCache, key: CacheKey) -> bytes | None:
    """What is stored for `key`."""
    return backend_of(cache).get(name_of(cache, key))
