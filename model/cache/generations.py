"""Generations: each family of entries whose names cannot be listed has one entry with a random value."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import NamedTuple

from model.cache.backend import Backend, CacheConfig, CacheUnavailable
from model.cache.keys import CacheKey

_MOST_KNOWN = 10_000


class Place(NamedTuple):
    """A key with its generation.  A valid value begins with `header`."""

    kind: str
    name: str
    header: bytes
    generation: bytes


class Generations:
    """Finds the place of a key in its family.  Keeps generations in memory, only to save round trips."""

    def __init__(self, backend: Backend, config: CacheConfig) -> None:
        self._backend = backend
        self._config = config
        self._known: dict[str, bytes] = {}

    def look(self, key: CacheKey, group: str) -> tuple[str, bytes, bytes, bytes | None]:
        """Return name, header and generation of `key`, and its entry.

        Needs one round trip if the generation is known.
        """
        name = key.name
        if not key.group_in_name:
            raw, generation = self._backend.get_both(name, group)
            if generation is None or not generation.isalnum():
                generation = self._begin(key, group, generation)
        else:
            raw, generation = self._guess(key, group)
            name += generation.decode()
        return name, b'%b"%b",' % (key.header, generation), generation, raw

    def _guess(self, key: CacheKey, group: str) -> tuple[bytes | None, bytes]:
        """Return the entry and the generation of a key whose name ends with the generation."""
        known = self._known.get(group)
        if known is None:
            raw, generation = None, self._backend.get(group)
        else:
            # The entry is used only if the generation is still the known one.
            raw, generation = self._backend.get_both(key.name + known.decode(), group)
        if generation is None or not generation.isalnum():
            generation = self._begin(key, group, generation)
        if generation != known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[group] = generation
            raw = self._backend.get(key.name + generation.decode())
        return raw, generation

    def drop(self, names: Iterable[str]) -> None:
        """Forget the generations of deleted entries."""
        if self._known:
            for name in names:
                self._known.pop(name, None)

    def _begin(self, key: CacheKey, group: str, found: bytes | None) -> bytes:
        """Store a new random generation, which lives longer than the entries of its family."""
        fresh = secrets.token_hex(8).encode()
        now = self._backend.swap(group, found, fresh, 2 * max(self._config.ttl_ms(key.kind), 1000))
        if now is None:
            return fresh
        if not now.isalnum():
            raise CacheUnavailable
        return now
