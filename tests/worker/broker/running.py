"""Real worker and beat processes on the test session's servers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from tests.support.patience import PATIENCE_S, eventually

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Process:
    """A running process and the file that its log goes to."""

    process: subprocess.Popen[bytes]
    path: Path

    @property
    def log(self) -> str:
        """Everything it has said."""
        return self.path.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def wait_for(self, text: str) -> None:
        """Wait until the log has `text`; fail with the log."""
        eventually(lambda: text in self.log or self.process.poll() is not None, self)
        assert text in self.log, self.log


@contextmanager
def celery(
    environment: dict[str, str], directory: Path, *arguments: str, app: str = "worker", cwd: Path = ROOT
) -> Iterator[Process]:
    """`celery -A worker …` of the sources in `cwd`, with this environment, stopped at the end."""
    number = len(list(directory.glob("celery-*.log")))
    path = directory / f"celery-{number}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", app, *arguments],
            cwd=cwd,
            env={**os.environ, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        running = Process(process, path)
        try:
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextmanager
def worker(
    environment: dict[str, str],
    directory: Path,
    *options: str,
    concurrency: int = 1,
    app: str = "worker",
    cwd: Path = ROOT,
) -> Iterator[Process]:
    """A worker that is ready, without the chatter between workers."""
    quiet = ("--without-mingle", "--without-gossip", "-c", str(concurrency), "-n", f"{directory.name}@%h")
    with celery(environment, directory, "worker", *quiet, *options, app=app, cwd=cwd) as running:
        running.wait_for("ready.")
        yield running


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def scrape(port: int) -> dict[str, float]:
    """The metrics that a worker exposes."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
