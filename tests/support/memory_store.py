"""An object store in memory whose calls are steps of the explorer, and that can be told to misbehave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tests.support.explorer_steps import Step, stop_before
from worker.storage.base import Erased, NoSuchObject, ObjectInfo

STORE = frozenset({"object store"})


class MemoryStore:
    """Objects in a dictionary.  Each call is one step; an erase is one step for each path."""

    late_delete_ms = 0

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def erase(self, paths: Sequence[str]) -> list[Erased]:
        """Delete one after the other."""
        found = []
        for path in paths:
            stop_before(Step(f"erase {path}", STORE, True))
            found.append(Erased(path, self.objects.pop(path, None) is not None))
        return found

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Appears at once, when all chunks have come."""
        content = b"".join(chunks)
        stop_before(Step(f"write {path}", STORE, True))
        self.objects[path] = content
        return len(content)

    def read(self, path: str) -> Iterator[bytes]:
        """The whole object as one chunk."""
        stop_before(Step(f"read {path}", STORE, False))
        if path not in self.objects:
            raise NoSuchObject(path=path)
        return iter([self.objects[path]])

    def size(self, path: str) -> int | None:
        """Its length."""
        stop_before(Step(f"size of {path}", STORE, False))
        found = self.objects.get(path)
        return None if found is None else len(found)

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """By ascending path."""
        stop_before(Step(f"list {prefix}", STORE, False))
        for path in sorted(self.objects):
            if path > start_after and (not prefix or path.startswith(prefix.rstrip("/") + "/")):
                yield ObjectInfo(path, len(self.objects[path]), 0)

    def check(self) -> None:
        """Always there."""
