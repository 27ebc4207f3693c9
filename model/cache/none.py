"""No cache: every read loads, and every invalidation succeeds."""

from __future__ import annotations

from collections.abc import Sequence

from model.cache.backend import CacheUnavailable


class NoBackend:
    """A backend that stores nothing."""

    def get(self, name: str, fresh: bool = False) -> bytes | None:
        raise CacheUnavailable(asked=False)

    def get_both(self, name: str, other: str) -> tuple[bytes | None, bytes | None]:
        raise CacheUnavailable(asked=False)

    def swap(self, name: str, seen: bytes | None, value: bytes, ttl_ms: int) -> bytes | None:
        raise CacheUnavailable(asked=False)

    def settle(self, name: str, mine: bytes, value: bytes, ttl_ms: int) -> bool:
        raise CacheUnavailable(asked=False)

    def forget(self, names: Sequence[str]) -> bool:
        return True

    def close(self) -> None:
        pass
