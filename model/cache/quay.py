"""Delete the entries of a live Quay, in its own Redis, together with Dredge's.

Quay uses the same names without prefix and header, so entries whose names can be listed are deleted. The
others (catalogue pages, lookups by unknown references, referrers of one artifact type) expire with their TTL,
at most two minutes later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from model.cache import keys
from model.cache.keys import CacheKey
from model.cache.redis import RedisBackend

GENERATION_MS = 2 * int(keys.DEFAULT_TTL_S[keys.ACTIVE_TAGS] * 1000)


class QuayCache:
    """Deletes entries of Quay and increases its counters; reads nothing."""

    def __init__(self, backend: RedisBackend) -> None:
        self._backend = backend

    def forget_keys(self, wanted: Sequence[CacheKey]) -> bool:
        """Delete the entries in one pipeline.

        Returns False if Quay's Redis did not answer. Then the names are kept, and deleted later.
        """
        names: dict[str, None] = {}
        generations: dict[str, int] = {}
        for key in wanted:
            if key.kind == keys.ACTIVE_TAGS and key.group:
                # The generation is a counter.  It is increased, because after a deletion it would start again
                # at numbers that live pages have.
                generations[key.group] = GENERATION_MS
            else:
                names.update(dict.fromkeys(quay_names(key)))
        if not names and not generations:
            return True
        return self._backend.forget(list(names), generations)

    def close(self) -> None:
        """Close the connections."""
        self._backend.close()


def quay_names(key: CacheKey) -> Iterator[str]:
    """Yield Quay's names of the entry of `key`."""
    if not key.header:
        return
    if key.kind == keys.REPOSITORY_BLOB:
        yield from key.forgets
        return
    yield key.name
    if key.kind == keys.REPOSITORY_LOOKUP:
        for kind in keys.REPOSITORY_KINDS:
            yield f"{key.name}_{kind}"
