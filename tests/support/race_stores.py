"""Stores for races: with late requests, with moves in two steps, and unmounted for a while."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tests.support.explorer_steps import Step, stop_before
from tests.support.memory_store import STORE, MemoryStore
from worker.storage.base import NOT_SENT, Erased, SetAside, clock_s

MINUTE_MS = 60_000


class LateStore(MemoryStore):
    """The first delete or move gets no answer; it is carried out within `late_delete_ms`, or never.

    A client that needs more time between its check of the clock and its delete has timed out.  A move may
    come from a process that is frozen for any time.
    """

    late_delete_ms = MINUTE_MS

    def __init__(self) -> None:
        super().__init__()
        self._under_way: list[Callable[[], None]] | None = None
        self._sent_s = 0.0

    def recall(self) -> None:
        """Forget pending requests."""
        super().recall()
        self._under_way = None

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> list[Erased]:
        """The first time nobody answers."""
        if self._under_way is not None:
            return super().erase(paths, until_s=until_s)
        if not self._sends("delete", until_s):
            return [Erased(path, None, NOT_SENT, sent=False) for path in paths]
        self._under_way = [lambda path=path: self.objects.pop(path, None) and None for path in paths]  # type: ignore[misc]
        return [Erased(path, None, "no answer", unknown=True) for path in paths]

    def set_aside(self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf) -> list[SetAside]:
        """The first time nobody answers."""
        if self._under_way is not None:
            return super().set_aside(moves, until_s=until_s)
        if not self._sends("move", until_s):
            return [SetAside(path, None, error=NOT_SENT, sent=False) for path, _ in moves]
        self._under_way = [lambda path=p, trash=t: self._move(path, trash) for p, t in moves]  # type: ignore[misc]
        return [SetAside(path, None, error="no answer", unknown=True) for path, _ in moves]

    def _sends(self, what: str, until_s: float) -> bool:
        stop_before(Step("look at the clock", STORE, True))
        looked_s = clock_s()
        if looked_s >= until_s:
            return False
        stop_before(Step(f"send the {what}", STORE, True))
        self._sent_s = looked_s if what == "delete" else clock_s()
        return True

    def _move(self, path: str, trash: str) -> None:
        content = self.objects.pop(path, None)
        if content is not None:
            self.trash[trash] = content

    def land(self) -> None:
        """Make an actor that carries out the pending requests, unless their time is over."""
        stop_before(Step("the late request lands", STORE, True))
        late_s = clock_s() - self._sent_s
        for request in (self._under_way or ()) if late_s <= self.late_delete_ms / 1000 else ():
            request()
        self._under_way = []


class CopyingStore(MemoryStore):
    """A store that sets objects aside like a plain bucket: a copy, then a delete in a second request."""

    def set_aside(self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf) -> list[SetAside]:
        """Move each object in two steps; check the clock before each."""
        found = []
        for path, trash in moves:
            if clock_s() >= until_s:
                found.append(SetAside(path, None, error=NOT_SENT, sent=False))
                continue
            stop_before(Step(f"copy {path}", STORE, True))
            if path not in self.objects:
                found.append(SetAside(path, trash in self.trash))
                continue
            self.trash[trash] = self.objects[path]
            stop_before(Step(f"delete {path}", STORE, True))
            self.objects.pop(path, None)
            found.append(SetAside(path, True))
        return found


class SwappedStore(MemoryStore):
    """A store that is not mounted for a while: it is empty then, or another one."""

    def __init__(self) -> None:
        super().__init__()
        self.other_identity: str | None = None
        self._right: tuple[dict[str, bytes], str | None] = ({}, None)

    def unmount(self) -> None:
        """Unmount the store: its objects are hidden."""
        stop_before(Step("the store is unmounted", STORE, True))
        self._right = (self.objects, self.identity)
        self.objects, self.identity = {}, self.other_identity

    def mount(self) -> None:
        """Mount the right store again; objects that were written meanwhile are hidden."""
        stop_before(Step("the store is mounted", STORE, True))
        self.objects, self.identity = self._right

    def away_for_a_while(self) -> None:
        """Make an actor that unmounts the store, then mounts it again."""
        self.unmount()
        self.mount()
