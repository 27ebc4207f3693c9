"""Wait for what other processes do, for as long as a machine that is busy with other work may need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

# A wait ends as soon as its condition holds: this limit is only for what will never happen.
PATIENCE_S = 180.0


class Logged(Protocol):
    """A process whose log is shown when a wait was in vain."""

    @property
    def log(self) -> str: ...


def eventually(condition: Callable[[], object], *running: Logged) -> None:
    """Wait until the condition holds; fail with the processes' logs."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "\n".join(each.log[-5000:] for each in running) or "in vain"
        time.sleep(0.02)
