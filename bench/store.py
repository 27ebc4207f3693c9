"""A store that does nothing, for measurements without the time of an object store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from worker.storage.base import Erased, NoSuchObject, ObjectInfo, SetAside, Stores, Trash


class Nowhere:
    """Reports success for every erase."""

    late_delete_ms = 0
    quarantine_is_cheap = False
    address = "nowhere://"
    identity = ""

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> list[Erased]:
        return [Erased(path, True) for path in paths]

    def set_aside(self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf) -> list[SetAside]:
        return [SetAside(path, True) for path, _ in moves]

    def put_back(self, path: str, trash: str, version: str = "") -> bool:
        return False

    def purge(self, trash: Sequence[Trash]) -> list[Erased]:
        return [Erased(each.trash, True) for each in trash]

    def read_identity(self) -> str | None:
        return self.identity or None

    def write_identity(self, identity: str) -> str:
        self.identity = self.identity or identity
        return self.identity

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        return sum(map(len, chunks))

    def read(self, path: str) -> Iterator[bytes]:
        raise NoSuchObject(path=path)

    def size(self, path: str) -> int | None:
        return None

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        return iter(())

    def check(self) -> Sequence[str]:
        return ()


def nowhere() -> Stores:
    """Return a store that does nothing as the location `local_us`."""
    return Stores({"local_us": Nowhere()}, "local_us")


class Holding(Nowhere):
    """Claims to hold every object, so that its location proves to be the right store and is erased from.

    Every process has the same one.
    """

    identity = "00000000-0000-4000-8000-000000000000"

    def size(self, path: str) -> int | None:
        return 0


def holding() -> Stores:
    """Return a store that does nothing, and claims to hold every object, as the location `local_us`."""
    return Stores({"local_us": Holding()}, "local_us")
