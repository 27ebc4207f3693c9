"""How long a push waits for an eraser that is frozen (SIGSTOP), and never wakes while the push waits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from model.gc.tombstones import find_referred
from tests.support.eraser import CONTENT, EraserFixture
from tests.support.frozen_eraser import DAY_S, freeze, frozen, push_until_it_goes
from tests.support.world import World
from worker.jobs import erase as module

pytestmark = pytest.mark.slow


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
