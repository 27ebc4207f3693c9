"""An embedded server: a child process with a port, a directory and a watchdog."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, ClassVar

from model.errors import RegistryError

START_S = 60.0
_STOP_S = 15.0
_PORTS = range(20_000, 32_768)

# Reads until every process that holds the other end of the pipe has ended, then stops the server and removes
# the directory.
_WATCHDOG = """
trap '' INT TERM HUP
read -r line
kill -CONT "$1"; kill -INT "$1" || exit 0
n=0
while kill -0 "$1" && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
kill -KILL "$1"
[ -n "$2" ] && rm -rf -- "$2"
"""


class EmbeddedFailure(RegistryError):
    """The embedded server did not start."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens now.

    It is below the range of outgoing connections: otherwise such a connection, even a client's that tries
    to reach the server, could use the port while the server is down.
    """
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedFailure(f"No port of 127.0.0.1 is free from {_PORTS.start} to {_PORTS.stop - 1}")


class Server:
    """A child process that answers on one port.  Every method is idempotent."""

    name: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGTERM
    start_s: ClassVar[float] = START_S

    def __init__(
        self, directory: Path, *, port: int = 0, durable: bool = False, doomed: Path | None = None
    ) -> None:
        """Let the watchdog remove the directory `doomed` if this process dies without `stop()`."""
        self.directory = Path(directory)
        self.port = port
        self.durable = durable
        self._doomed = doomed
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Prepare the directory for the first start."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def command(self) -> list[str]:
        """Return the command line that runs the server in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Return whether the server answers requests."""
        raise NotImplementedError

    def privileges(self) -> dict[str, Any]:
        """Return the arguments of `Popen` for the user of the server."""
        return {}

    @property
    def log_path(self) -> Path:
        """Return the file of the server's log, beside its directory."""
        return self.directory.with_suffix(".log")

    @property
    def pid(self) -> int | None:
        """Return the server's process ID while it runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    def start(self) -> None:
        """Start the server and wait until it answers.  The port stays the same after the first start."""
        if self.pid is not None:
            return
        try:
            self.prepare()
            self._start()
        except OSError as error:
            raise EmbeddedFailure(
                f"The embedded {self.name} cannot be run: {error}. {self.hint()}"
            ) from error

    def hint(self) -> str:
        """Return advice for a server that does not start."""
        return ""

    def _start(self) -> None:
        chosen = self.port
        for _ in range(3):
            self.port = chosen or free_port()
            if self._try_start():
                return
            if chosen:
                break
        raise EmbeddedFailure(f"The embedded {self.name} did not start: {self._last_words()}. {self.hint()}")

    def _try_start(self) -> bool:
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.privileges(),
            )
        self._watch(self._process.pid)
        deadline = time.monotonic() + self.start_s
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.answers():
                return True
            time.sleep(0.02)
        self.stop()
        return False

    def _last_words(self) -> str:
        try:
            lines = self.log_path.read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return " / ".join(lines[-3:]) or "no output"

    def _watch(self, pid: int) -> None:
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "dredge-watchdog", str(pid), str(self._doomed or "")],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self) -> None:
        """Stop the server cleanly; kill it after 15 seconds."""
        self.thaw()
        self._end(self.stop_signal)

    def kill(self) -> None:
        """Kill the server at once, as a crash or a power cut does."""
        # Stopped first, because it would replace a killed child with a new one.
        self.freeze()
        for pid in reversed(self._pids()):
            _send(pid, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(number)
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None

    def restart(self) -> None:
        """Stop the server, and start it on the same port with the same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Freeze the server and its children: connections stay open, and nothing answers."""
        for pid in self._pids():
            _send(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume a frozen server."""
        for pid in self._pids():
            _send(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        """Return the IDs of the server's process and its children."""
        if self.pid is None:
            return []
        return [self.pid, *_children(self.pid)]


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    """Return the direct children of a process, from `ps` if the system has no /proc."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if listed.exists():
        return [int(child) for child in listed.read_text().split()]
    if not shutil.which("ps"):
        return []
    output = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False
    ).stdout
    pairs = [line.split() for line in output.splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]
