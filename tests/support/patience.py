"""Wait for other processes, long enough for a machine that is busy with other work."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

# A wait ends as soon as its condition holds; this limit only ends waits for something that never happens.
PATIENCE_S = 180.0


class Logged(Protocol):
    """A process whose log is shown if a wait fails."""

    @property
    def log(self) -> str: ...


def eventually(condition: Callable[[], object], *running: Logged) -> None:
    """Wait until the condition holds; fail with the processes' logs."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "\n".join(each.log[-5000:] for each in running) or "in vain"
        time.sleep(0.02)
