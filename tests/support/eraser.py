"""A store with tombstones to erase, for tests of the eraser."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from model.db import connection as database
from model.storage_paths import object_path
from tests.support.pipeline import LOCATION, make_context
from tests.support.world import Row, World, digest_of
from worker.jobs.erase import erase
from worker.jobs.erase_outcome import Cleared
from worker.settings import Settings
from worker.storage.base import Erased
from worker.storage.local import LocalStore

CONTENT = b"0123456789"


class EraserFixture:
    """A store, by default of files, with tombstones for some of its objects."""

    def __init__(self, world: World, root: Path, *, store: Any = None) -> None:
        self.world, self.store = world, store or LocalStore(root, fsync=False)
        make_context({LOCATION: self.store})
        self.bystander = self.object("bystander")
        world.tag("bystander", manifest=world.manifest(blobs=[world.blob(digest=self.bystander)]))

    def object(self, name: str) -> str:
        """Write an object.  Returns its digest."""
        digest = digest_of(name)
        self.store.write(object_path(digest, True, ""), [CONTENT])
        return digest

    def tombstone(self, name: str, *, written: bool = True, location: str = LOCATION, due_ms: int = 1) -> Row:
        """Write a tombstone, by default with its object."""
        digest = self.object(name) if written else digest_of(name)
        path = object_path(digest, True, "")
        id = self.world.insert(
            "dredge_tombstone",
            digest=digest,
            path=path,
            location=location,
            size=len(CONTENT),
            created_ms=1,
            due_ms=due_ms,
        )
        return Row(id, digest=digest, path=path)

    def tombstones(self, count: int) -> list[Row]:
        return [self.tombstone(f"dead {n}") for n in range(count)]

    def paths(self) -> set[str]:
        return {seen.path for seen in self.store.list()} - {object_path(self.bystander, True, "")}

    def left(self) -> list[int]:
        return [id for (id,) in self.world.rows("SELECT id FROM dredge_tombstone ORDER BY id")]

    def row(self, tombstone: Row) -> dict[str, Any]:
        return dict(self.world.snapshot()["dredge_tombstone"][int(tombstone)])

    def erase(self, store: Any = None, budget_s: float = 60.0, **settings: Any) -> Cleared:
        """Run the eraser; fail if it changes the registry's tables or the bystander's object."""
        with self.world.unchanged():
            cleared = self.run(store, budget_s, **settings)
        assert self.store.size(object_path(self.bystander, True, "")) == len(CONTENT)
        return cleared

    def run(self, store: Any = None, budget_s: float = 60.0, **settings: Any) -> Cleared:
        given = Settings(**({"quarantine_s": 0} | settings))
        context = make_context({LOCATION: store or self.store}, settings=given)
        return erase(context, budget_s=budget_s)

    def run_and_die(self, store: Any, **settings: Any) -> None:
        """Run the eraser in a process of its own, which the store kills."""
        pid = os.fork()
        if not pid:
            try:
                database.disown()
                database.configure(self.world.url)
                self.run(store, **settings)
            finally:
                os._exit(0)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


class Wrapped:
    """The store, except for paths for which `answer` gives another result."""

    def __init__(
        self, store: LocalStore, answer: Callable[[str], Erased | None], *, late_delete_ms: int = 0
    ) -> None:
        self._store, self._answer, self.late_delete_ms = store, answer, late_delete_ms

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> list[Erased]:
        return [self._answer(path) or self._store.erase([path], until_s=until_s)[0] for path in paths]
