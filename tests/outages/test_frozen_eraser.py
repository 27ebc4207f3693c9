"""How long a push waits for an eraser that is frozen (SIGSTOP), and never wakes while the push waits."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model.blob import Push, begin_push
from model.db import connection as database
from model.db.clock import now_ms
from model.errors import RegistryError
from model.gc.tombstones import find_referred
from model.policy import DEFAULT
from tests.support.eraser import CONTENT, EraserFixture
from tests.support.pipeline import LOCATION
from tests.support.world import World
from worker.jobs import erase as module

pytestmark = pytest.mark.slow
DAY_S = 86_400
PATIENCE_S = 300


def freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@contextmanager
def frozen(eraser: EraserFixture, prepare: Callable[[], None]) -> Iterator[None]:
    """An eraser in a process of its own that has stopped itself; it goes on after the block, and ends."""
    pid = os.fork()
    if not pid:
        try:
            database.disown()
            database.configure(eraser.world.url)
            prepare()
            eraser.run(quarantine_s=DAY_S)
        finally:
            os._exit(0)
    try:
        assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        os.waitpid(pid, 0)


def push_until_it_goes(world: World, digest: str) -> Push:
    """As a client does: it is told that the digest is busy, and tries again."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return begin_push(
                world.repository_id, digest, 10, location=LOCATION, policy=DEFAULT, now_ms=now_ms()
            )
        except RegistryError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("place", ["in its transaction", "before its request", "after its request"])
def test_a_push_goes_on_while_the_eraser_is_frozen_and_keeps_its_object(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    eraser = EraserFixture(world, tmp_path / "objects")
    dead = eraser.tombstone("dead")
    move = eraser.store.set_aside

    def prepare() -> None:
        def stop_and_find(*arguments: object) -> object:
            freeze()
            return find_referred(*arguments)  # type: ignore[arg-type]

        def stop_around(*arguments: object, **options: object) -> object:
            if place == "before its request":
                freeze()
            moved = move(*arguments, **options)  # type: ignore[arg-type]
            if place == "after its request":
                freeze()
            return moved

        if place == "in its transaction":
            monkeypatch.setattr(module, "find_referred", stop_and_find)
        else:
            monkeypatch.setattr(eraser.store, "set_aside", stop_around)

    with frozen(eraser, prepare):
        started = time.monotonic()
        push = push_until_it_goes(world, dead.digest)
        waited_s = time.monotonic() - started
        print(f"a push beside an eraser that is frozen {place} waits {waited_s:.1f} s")  # noqa: T201 (a figure)
        if eraser.store.size(push.path) is None:
            eraser.store.write(push.path, [CONTENT])
    world.execute("UPDATE dredge_tombstone SET due_ms = 0")
    world.execute("UPDATE dredge_quarantine SET look_ms = 0")
    eraser.run(quarantine_s=DAY_S)
    assert eraser.paths() == {dead.path} and not eraser.left()
