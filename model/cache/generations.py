"""Families of entries that cannot be enumerated: a random value in each, and one entry that names it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import NamedTuple

from model.cache.backend import Backend, CacheConfig, CacheUnavailable
from model.cache.keys import CacheKey

_MOST_KNOWN = 10_000


class Place(NamedTuple):
    """A key whose generation is known; `header` is what a value there must begin with."""

    key: CacheKey
    name: str
    header: bytes
    generation: bytes


class Generations:
    """Finds the place of a key in its family; remembers generations only to save a round trip."""

    def __init__(self, backend: Backend, config: CacheConfig) -> None:
        self._backend = backend
        self._config = config
        self._known: dict[str, bytes] = {}

    def look(self, key: CacheKey, group: str) -> tuple[Place, bytes | None]:
        """The place of `key` and what is there: one round trip, two for a name not known yet."""
        if not key.group_in_name:
            raw, generation = self._backend.get_both(key.name, group)
            return _place(key, self._begun(key, group, generation)), raw
        known = self._known.get(group)
        if known is None:
            raw, generation = None, self._backend.get(group)
        else:
            # A guess: right unless somebody has invalidated since, and then its answer is not used.
            raw, generation = self._backend.get_both(key.name + known.decode(), group)
        generation = self._begun(key, group, generation)
        place = _place(key, generation)
        if generation != known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[group] = generation
            raw = self._backend.get(place.name)
        return place, raw

    def drop(self, names: Iterable[str]) -> None:
        """These entries were deleted."""
        if self._known:
            for name in names:
                self._known.pop(name, None)

    def _begun(self, key: CacheKey, group: str, found: bytes | None) -> bytes:
        """The generation `found`, or a new one, random so that none returns; it outlives its members."""
        if found is not None and found.isalnum():
            return found
        fresh = secrets.token_hex(8).encode()
        now = self._backend.swap(group, found, fresh, 2 * max(self._config.ttl_ms(key.kind), 1000))
        if now is None:
            return fresh
        if not now.isalnum():
            raise CacheUnavailable
        return now


def _place(key: CacheKey, generation: bytes) -> Place:
    name = key.name + generation.decode() if key.group_in_name else key.name
    return Place(key, name, key.header + b'"' + generation + b'",', generation)
