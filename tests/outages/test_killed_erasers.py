"""Erasers that are killed again and again beside a transaction that is open all the time."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from model.db import connection as database
from tests.support.entries import old_snapshot
from tests.support.eraser import EraserFixture, Wrapped
from tests.support.patience import eventually
from tests.support.pipeline import LOCATION, make_context
from tests.support.world import World
from worker.jobs.erase import erase
from worker.settings import Settings

pytestmark = pytest.mark.slow
ROWS, KILLS, SEED = 300, 8, 7


def start(eraser: EraserFixture) -> int:
    """Start a process that erases, turn after turn, until it is killed.  Returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        database.disown()
        database.configure(eraser.world.url)
        slow = Wrapped(eraser.store, lambda path: time.sleep(0.005))
        context = make_context({LOCATION: slow}, settings=Settings(quarantine_s=0, erase_batch=5))
        while True:
            erase(context, budget_s=0.2)
            time.sleep(0.01)
    finally:
        os._exit(1)


def test_tombstones_of_killed_erasers_are_erased_by_the_others(world: World, tmp_path: Path) -> None:
    eraser = EraserFixture(world, tmp_path / "objects")
    eraser.tombstones(ROWS)
    choose = random.Random(SEED)
    with old_snapshot(world.url):
        running = [start(eraser), start(eraser)]
        try:
            for _ in range(KILLS):
                time.sleep(choose.uniform(0.05, 0.4))
                doomed = running.pop(choose.randrange(2))
                os.kill(doomed, signal.SIGKILL)
                assert os.WTERMSIG(os.waitpid(doomed, 0)[1]) == signal.SIGKILL
                running.append(start(eraser))
            assert world.value("SELECT count(*) FROM dredge_tombstone WHERE token IS NOT NULL")
            eventually(lambda: not eraser.left())
        finally:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
    assert not eraser.paths() and eraser.store.size(f"sha256/{eraser.bystander[7:9]}/{eraser.bystander[7:]}")
    assert world.value("SELECT count(*) FROM imagestorage") == 1
