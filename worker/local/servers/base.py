"""One embedded server: a process of ours with a port, a directory and a watchdog."""

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

# Reads until the last holder of the pipe's other end is gone, then ends the server and the directory.
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
    """A TCP port of 127.0.0.1 that nobody listens on now.

    Below those that systems give to outgoing connections: one of them, even a client's that looks for
    the server, could take the port while the server is down.
    """
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedFailure(f"No port of 127.0.0.1 is free from {_PORTS.start} to {_PORTS.stop - 1}")


class Server:
    """A child process that answers on one port; every method may be called again without harm."""

    name: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGTERM
    start_s: ClassVar[float] = START_S

    def __init__(
        self, directory: Path, *, port: int = 0, durable: bool = False, doomed: Path | None = None
    ) -> None:
        """`doomed`: a directory that the watchdog removes if this process dies without `stop()`."""
        self.directory = Path(directory)
        self.port = port
        self.durable = durable
        self._doomed = doomed
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make the directory ready for the first start."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def command(self) -> list[str]:
        """The command line of the server, in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """True when the server takes requests."""
        raise NotImplementedError

    def privileges(self) -> dict[str, Any]:
        """Arguments of `Popen` that say as whom the server runs."""
        return {}

    @property
    def log_path(self) -> Path:
        """The server's own log, beside its directory."""
        return self.directory.with_suffix(".log")

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process else None

    def start(self) -> None:
        """Start and wait until it answers; the port stays the same from the first start on."""
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
        """Return what may help where it does not start."""
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
        """Stop cleanly, by force after 15 seconds."""
        self.thaw()
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it at once, as a crash or a power cut would."""
        # Halted first: it would answer the death of a child with a new one, that nobody kills.
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
        """Stop and start on the same port with the same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Halt the server and its children: connections stay open and nothing answers."""
        for pid in self._pids():
            _send(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        for pid in self._pids():
            _send(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        """The server's process, then its children."""
        if self.pid is None:
            return []
        return [self.pid, *_children(self.pid)]


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _children(pid: int) -> list[int]:
    """Direct children of a process; from `ps` where the system has no /proc."""
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
