"""The operations of a cache backend, and the configuration of entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from model.cache.keys import DEFAULT_TTL_S, CacheKey


class CacheUnavailable(Exception):
    """The cache cannot be used now.  Never raised outside this package.

    `asked`: the server was asked and did not answer.  Otherwise the breaker is open and it was not asked.
    """

    def __init__(self, asked: bool = True) -> None:
        super().__init__("the cache did not answer" if asked else "the cache is resting after a failure")
        self.asked = asked


class Backend(Protocol):
    """Five atomic operations on named entries.  All but `forget` may raise `CacheUnavailable`."""

    def get(self, name: str, fresh: bool = False) -> bytes | None:
        """Return the entry, or None.  With `fresh`, never read a replica."""
        ...

    def get_both(self, name: str, other: str) -> tuple[bytes | None, bytes | None]:
        """Return two entries in one round trip."""
        ...

    def swap(self, name: str, seen: bytes | None, value: bytes, ttl_ms: int) -> bytes | None:
        """Store `value` if the entry is `seen` or empty.  Returns None if stored, else the current entry."""
        ...

    def settle(self, name: str, mine: bytes, value: bytes, ttl_ms: int) -> bool:
        """Replace `mine` by `value`, or delete it if `ttl_ms` is 0.  Returns False if `mine` is gone."""
        ...

    def forget(self, names: Sequence[str]) -> bool:
        """Delete the entries.  Returns False if that is not possible now.  Never raises."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True)
class CacheConfig:
    """Times are in seconds.  For a kind of entry, `ttls` overrides its usual TTL, and `sizes` `max_bytes`."""

    ttls: Mapping[str, float] = field(default_factory=dict)
    max_bytes: int = 1_000_000
    sizes: Mapping[str, int] = field(default_factory=dict)
    lease_s: float = 10.0
    wait_s: float = 0.25

    def ttl_ms(self, kind: str) -> int:
        """Return the TTL of a value of `kind` in milliseconds; 0 means that it is not stored."""
        return int(self.ttls.get(kind, DEFAULT_TTL_S.get(kind, 0)) * 1000)


class ForeignCache(Protocol):
    """The cache of another system, which must delete the same entries under its own names."""

    def forget_keys(self, keys: Sequence[CacheKey]) -> bool:
        """Delete the entries of these keys, as `Backend.forget` does."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
