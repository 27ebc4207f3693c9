"""The command line in this process, on the world's database and a directory of objects."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from model.policy import HOUR_MS
from model.storage_paths import object_path
from tests.support.world import Row, World
from worker import cli
from worker.storage.local import LocalStore


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its standard output as JSON, a value a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Dredge = Callable[..., Said]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "objects", fsync=False)


@pytest.fixture
def dredge(
    world: World, store: LocalStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Dredge:
    """`dredge("plan", "--json")` runs a command; further settings are keywords."""

    def run(*arguments: str, **settings: str) -> Said:
        defaults = {"DATABASE_URL": world.url, "STORAGE": str(store.root), "QUARANTINE_S": "0"}
        capsys.readouterr()
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            for name, value in (defaults | settings).items():
                patch.setenv(f"DREDGE_{name}", value)
            cli.main(list(arguments))
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    return run


class Garbage:
    """Registry content for the commands to find: images with objects, living and dead."""

    def __init__(self, world: World, store: LocalStore) -> None:
        self.world, self.store = world, store
        self.kept = self.image("bystander", size=1 << 20)

    def blob(self, size: int) -> Row:
        """A blob with its object."""
        made = self.world.blob(size)
        self.store.write(object_path(made.digest, True, ""), [bytes(min(size, 1000))])
        return made

    def image(
        self, name: str, *, size: int = 100, repository: Row | None = None, dead_for_ms: int | None = None
    ) -> Row:
        """A tag on an image of one blob; dead for so long after its window has closed."""
        ended_ms = None if dead_for_ms is None else self.world.now_ms - 14 * 24 * HOUR_MS - dead_for_ms
        manifest = self.world.manifest(repository, blobs=[self.blob(size)])
        return self.world.tag(name, manifest=manifest, ended_ms=ended_ms)

    def objects(self) -> int:
        return sum(1 for _ in self.store.list())


@pytest.fixture
def garbage(world: World, store: LocalStore) -> Garbage:
    return Garbage(world, store)
