"""An object store in memory whose calls are steps of the explorer; tests can make it misbehave."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from model.storage_paths import TRASH_FOLDER
from tests.support.explorer_steps import Step, stop_before
from worker.storage.base import NOT_SENT, Erased, NoSuchObject, ObjectInfo, SetAside, Trash, clock_s

STORE = frozenset({"object store"})


class MemoryStore:
    """Objects in a dictionary.  Each call is one step; an erase is one step for each path."""

    late_delete_ms = 0
    quarantine_is_cheap = False
    address = "memory://"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.trash: dict[str, bytes] = {}
        self.identity: str | None = None
        self.remember()

    def remember(self) -> None:
        """Save all objects for `recall`."""
        self._saved = dict(self.objects), dict(self.trash), self.identity

    def recall(self) -> None:
        """Restore the saved objects."""
        objects, trash, self.identity = self._saved
        self.objects, self.trash = dict(objects), dict(trash)

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> list[Erased]:
        """Delete the objects one by one; reads the clock before the step, as a real client does."""
        found = []
        for path in paths:
            if clock_s() >= until_s:
                found.append(Erased(path, None, NOT_SENT, sent=False))
                continue
            stop_before(Step(f"erase {path}", STORE, True))
            found.append(Erased(path, self.objects.pop(path, None) is not None))
        return found

    def set_aside(self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf) -> list[SetAside]:
        """Move the objects one by one to `trash`."""
        found = []
        for path, trash in moves:
            if clock_s() >= until_s:
                found.append(SetAside(path, None, error=NOT_SENT, sent=False))
                continue
            stop_before(Step(f"set aside {path}", STORE, True))
            content = self.objects.pop(path, None)
            if content is not None:
                self.trash[trash] = content
            found.append(SetAside(path, content is not None))
        return found

    def put_back(self, path: str, trash: str, version: str = "") -> bool:
        """Put the object back in one step."""
        stop_before(Step(f"put back {path}", STORE, True))
        if path not in self.objects and trash in self.trash:
            self.objects[path] = self.trash.pop(trash)
        return path in self.objects

    def purge(self, trash: Sequence[Trash]) -> list[Erased]:
        """Delete the objects of the trash one by one."""
        found = []
        for each in trash:
            stop_before(Step(f"purge {each.trash}", STORE, True))
            found.append(Erased(each.trash, self.trash.pop(each.trash, None) is not None))
        return found

    def read_identity(self) -> str | None:
        """Return the identity; not a step, since no object is used."""
        return self.identity

    def write_identity(self, identity: str) -> str:
        """Keep the first identity."""
        self.identity = self.identity or identity
        return self.identity

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Write the object in one step, after all chunks have arrived."""
        content = b"".join(chunks)
        stop_before(Step(f"write {path}", STORE, True))
        self.objects[path] = content
        return len(content)

    def read(self, path: str) -> Iterator[bytes]:
        """Return the whole object as one chunk."""
        stop_before(Step(f"read {path}", STORE, False))
        if path not in self.objects:
            raise NoSuchObject(path=path)
        return iter([self.objects[path]])

    def size(self, path: str) -> int | None:
        """Return the object's length."""
        stop_before(Step(f"size of {path}", STORE, False))
        found = self.objects.get(path)
        return None if found is None else len(found)

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """List by ascending path."""
        stop_before(Step(f"list {prefix}", STORE, False))
        found = self.trash if prefix.startswith(TRASH_FOLDER) else self.objects
        for path in sorted(found):
            if path > start_after and (not prefix or path.startswith(prefix.rstrip("/") + "/")):
                yield ObjectInfo(path, len(found[path]), 0)

    def check(self) -> Sequence[str]:
        """Report no problem."""
        return ()
