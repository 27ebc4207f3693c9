"""Run the processes of the Procfile, each in a session of its own, so that kill -9 reaches its children."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

STOP_S = 60


class Processes:
    """Starts processes of a Procfile with their output in files, and stops all of them at the end."""

    def __init__(self, lines: Mapping[str, str], environment: Mapping[str, str], logs: Path) -> None:
        self._lines = dict(lines)
        self._environment = dict(environment)
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        for name in self._lines:
            self.start(name)
        return self

    def start(self, name: str) -> None:
        """Start one process of the Procfile."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                ["sh", "-c", self._lines[name]],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """`kill -9` the process and all of its children."""
        self._signal(name, signal.SIGKILL)
        self._running[name].wait()

    def stop(self, name: str) -> None:
        """Ask the process to end, and wait for it."""
        self._running[name].terminate()
        try:
            self._running[name].wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill(name)

    def ended(self) -> str | None:
        """Return the name of a process that ended unexpectedly, if any."""
        return next((name for name, process in self._running.items() if process.poll() is not None), None)

    def tail(self, name: str, lines: int = 20) -> str:
        """Return the end of a process's log."""
        text = (self._logs / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.terminate()
        for name, process in self._running.items():
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill(name)

    def _signal(self, name: str, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._running[name].pid, number)
