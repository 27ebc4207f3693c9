"""A live Quay's own entries in its own Redis: forgotten with ours, under its names.

Quay keeps the same names without a prefix and without an identity, so what can be enumerated is
deleted. What cannot (catalogue pages, lookups by references that nobody named, referrers of one
artifact type) ends with its TTL, at most two minutes later, as it does without us.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.cache import keys
from model.cache.keys import CacheKey
from model.cache.redis import RedisBackend

GENERATION_MS = 2 * int(keys.DEFAULT_TTL_S[keys.ACTIVE_TAGS] * 1000)


class QuayCache:
    """Deletes only; reads and writes nothing else of Quay's."""

    def __init__(self, backend: RedisBackend) -> None:
        self._backend = backend

    def forget_keys(self, wanted: Sequence[CacheKey]) -> bool:
        """One pipeline; False when Quay's Redis did not answer, and then it is owed."""
        names: dict[str, None] = {}
        generations: dict[str, int] = {}
        for key in wanted:
            if key.kind == keys.ACTIVE_TAGS and key.group:
                # A counter goes on: were it deleted, it would come back to numbers whose pages live.
                generations[key.group] = GENERATION_MS
            else:
                names.update(dict.fromkeys(quay_names(key)))
        if not names and not generations:
            return True
        return self._backend.forget(list(names), generations)

    def close(self) -> None:
        """Give back the connections."""
        self._backend.close()


def quay_names(key: CacheKey) -> Iterator[str]:
    """The names under which Quay keeps what `key` stands for."""
    if not key.header:
        return
    if key.kind == keys.REPOSITORY_BLOB:
        yield from key.forgets
        return
    yield key.name
    if key.kind == keys.REPOSITORY_LOOKUP:
        for kind in keys.REPOSITORY_KINDS:
            yield f"{key.name}_{kind}"
