"""An eraser that stops itself (SIGSTOP) in a process of its own, and a push beside it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from model.blob import Push, begin_push
from model.db import connection as database
from model.db.clock import now_ms
from model.errors import RegistryError
from model.policy import DEFAULT
from tests.support.eraser import EraserFixture
from tests.support.pipeline import LOCATION
from tests.support.world import World

DAY_S = 86_400
PATIENCE_S = 300


_frozen_before = False


def freeze() -> None:
    """Stop this process until somebody lets it go on; once, because nobody watches for a second time."""
    global _frozen_before
    if not _frozen_before:
        _frozen_before = True
        os.kill(os.getpid(), signal.SIGSTOP)


@contextmanager
def frozen(
    eraser: EraserFixture, prepare: Callable[[], None], *, quarantine_s: int = DAY_S
) -> Iterator[None]:
    """An eraser in a process of its own that has stopped itself; it goes on after the block, and ends."""
    pid = os.fork()
    if not pid:
        try:
            database.disown()
            database.configure(eraser.world.url)
            prepare()
            eraser.run(quarantine_s=quarantine_s)
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
