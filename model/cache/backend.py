"""What a place for entries can do, and how the entries are kept there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from model.cache.keys import DEFAULT_TTL_S, CacheKey


class CacheUnavailable(Exception):
    """The cache cannot be used now; `asked` when it was tried. Never leaves this package."""

    def __init__(self, asked: bool = True) -> None:
        super().__init__("the cache did not answer" if asked else "the cache is resting after a failure")
        self.asked = asked


class Backend(Protocol):
    """Five atomic operations on named entries; each but `forget` may raise `CacheUnavailable`."""

    def get(self, name: str, fresh: bool = False) -> bytes | None:
        """The entry; `fresh` never asks a replica."""
        ...

    def get_both(self, name: str, other: str) -> tuple[bytes | None, bytes | None]:
        """Two entries in one round trip."""
        ...

    def swap(self, name: str, seen: bytes | None, value: bytes, ttl_ms: int) -> bytes | None:
        """Put `value` where still `seen` or nothing is; None when done, else what is there now."""
        ...

    def settle(self, name: str, mine: bytes, value: bytes, ttl_ms: int) -> bool:
        """Replace `mine` by `value`, or by nothing for a `ttl_ms` of 0; False where `mine` is gone."""
        ...

    def forget(self, names: Sequence[str]) -> bool:
        """Delete the entries; False when that could not be done now. Never raises."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


@dataclass(frozen=True)
class CacheConfig:
    """Times in seconds; `ttls` and `sizes` override, by kind, the table's TTL and `max_bytes`."""

    ttls: Mapping[str, float] = field(default_factory=dict)
    max_bytes: int = 1_000_000
    sizes: Mapping[str, int] = field(default_factory=dict)
    lease_s: float = 10.0
    wait_s: float = 0.25

    def ttl_ms(self, kind: str) -> int:
        """Return how long a value of `kind` lives; 0: it is not stored."""
        return int(self.ttls.get(kind, DEFAULT_TTL_S.get(kind, 0)) * 1000)


class ForeignCache(Protocol):
    """Another system's cache that must forget the same entries under its own names."""

    def forget_keys(self, keys: Sequence[CacheKey]) -> bool:
        """As `Backend.forget`."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...
