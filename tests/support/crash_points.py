"""Crash points: kill a real process with SIGKILL at every step of its work, one step per run.

The work runs in a forked child that counts its statements, commits and storage calls, and kills itself
before or after the n-th.  The steps are:

    before and after each statement          before and after each COMMIT
    before and after each path of an erase   before, in the middle of and after each write

"After COMMIT" is the case in which the client does not know the commit's outcome: `cut` closes the
connection's socket right after COMMIT was sent, and the process continues, as after a network failure.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from model.db import connection as database
from model.db.connection import db
from tests.support.patience import PATIENCE_S
from tests.support.race_harness import RaceHarness
from worker.storage.base import Erased, SetAside
from worker.storage.local import LocalStore

DONE, FAILED = 0, 70


class Counter:
    """Counts the crash points of a process, and kills it at one of them."""

    def __init__(self, fatal: int, log: Path) -> None:
        self.fatal, self.count, self._log = fatal, 0, log

    def point(self, what: str) -> None:
        """Count one more crash point, and kill the process if it is the chosen one."""
        self.count += 1
        if self.count == self.fatal:
            self._log.write_text(what)
            os.kill(os.getpid(), signal.SIGKILL)


class Files(MutableMapping[str, bytes]):
    """The objects of a directory store as a mapping, accessed without the store."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __getitem__(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            raise KeyError(path) from None

    def __setitem__(self, path: str, content: bytes) -> None:
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        (self._root / path).write_bytes(content)

    def __delitem__(self, path: str) -> None:
        (self._root / path).unlink()

    def __iter__(self) -> Iterator[str]:
        found = (path for path in self._root.rglob("*") if path.is_file())
        names = (str(path.relative_to(self._root)) for path in found)
        return iter(sorted(name for name in names if not name.startswith(".")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class MortalStore(LocalStore):
    """A directory store with crash points in its calls."""

    counter: Counter | None = None

    def __init__(self, root: Path) -> None:
        super().__init__(root, fsync=False)
        self.objects = Files(root)

    def remember(self) -> None:
        """Save all objects for `recall`."""
        self._saved = dict(self.objects)

    def recall(self) -> None:
        """Restore the saved objects."""
        self.objects.clear()
        self.objects.update(self._saved)

    def erase(self, paths: Sequence[str], *, until_s: float = math.inf) -> list[Erased]:
        """Erase path by path, with crash points between them, as in the middle of a bulk delete."""
        found = []
        for path in paths:
            self._point(f"before erasing {path}")
            found += super().erase([path], until_s=until_s)
            self._point(f"after erasing {path}")
        return found

    def set_aside(self, moves: Sequence[tuple[str, str]], *, until_s: float = math.inf) -> list[SetAside]:
        """Set aside path by path, with crash points between them."""
        found = []
        for path, trash in moves:
            self._point(f"before setting aside {path}")
            found += super().set_aside([(path, trash)], until_s=until_s)
            self._point(f"after setting aside {path}")
        return found

    def put_back(self, path: str, trash: str, version: str = "") -> bool:
        """Put back, with a crash point before and after."""
        self._point(f"before putting back {path}")
        found = super().put_back(path, trash, version)
        self._point(f"after putting back {path}")
        return found

    def write(self, path: str, chunks: Iterable[bytes]) -> int:
        """Write, with crash points before, between two chunks, and after."""
        self._point(f"before writing {path}")
        written = super().write(path, self._mortal(path, chunks))
        self._point(f"after writing {path}")
        return written

    def _mortal(self, path: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self._point(f"while writing {path}")

    def _point(self, what: str) -> None:
        if self.counter is not None:
            self.counter.point(what)


def install(counter: Counter) -> None:
    """Count the statements and commits of this process as crash points."""
    target = db.obj
    execute, commit = target.execute_sql, target.commit

    def execute_sql(sql: str, params: Any = None) -> Any:
        shown = " ".join(sql.split())[:90]
        counter.point(f"before {shown}")
        found = execute(sql, params)
        counter.point(f"after {shown}")
        return found

    def commit_sql() -> Any:
        counter.point("before COMMIT")
        done = commit()
        counter.point("after COMMIT")
        return done

    target.execute_sql, target.commit = execute_sql, commit_sql


@dataclass(frozen=True)
class Killed:
    """One killed run: the number and text of its last point; `finished` if the work ended before that."""

    point: int
    what: str
    finished: bool


def run_and_kill(url: str, store: MortalStore, work: Callable[[], Any], *, fatal: int, log: Path) -> Killed:
    """Run `work` in a child on its own connections, and kill it at point `fatal`.

    Waits until the child has ended, and until the server has rolled its transaction back.
    """
    log.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        _live_and_die(url, store, work, Counter(fatal, log), log)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        if os.WEXITSTATUS(status) != DONE:
            raise AssertionError(f"the child failed by itself at point {fatal}:\n{log.read_text()}")
        return Killed(fatal, "", True)
    assert os.WTERMSIG(status) == signal.SIGKILL
    return Killed(fatal, log.read_text(), False)


def kill_at_points(
    harness: RaceHarness,
    store: MortalStore,
    work: Callable[[], Any],
    check: Callable[[], None],
    *,
    chosen: Iterable[int],
    log: Path,
) -> int:
    """Kill `work` at each of these points, from the saved state, and check what is left.

    Stops when the work ends before its point.  Returns the number of runs.
    """
    tried = 0
    for fatal in chosen:
        harness.reset()
        killed = run_and_kill(harness.url, store, work, fatal=fatal, log=log)
        wait_for_the_server(harness.world.rows)
        try:
            harness.check("after the kill")
            check()
        except AssertionError as error:
            raise AssertionError(f"killed at point {fatal}, {killed.what}: {error}") from error
        tried += 1
        if killed.finished:
            break
    return tried


def _live_and_die(
    url: str, store: MortalStore, work: Callable[[], Any], counter: Counter, log: Path
) -> NoReturn:
    code = FAILED
    try:
        database.disown()
        database.configure(url, application_name="mortal")
        install(counter)
        store.counter = counter
        work()
        code = DONE
    except BaseException:  # noqa: BLE001  reported through the log
        log.write_text(traceback.format_exc())
    finally:
        os._exit(code)


def wait_for_the_server(rows: Callable[[str], list[Any]]) -> None:
    """Wait until no connection of a killed child is left, so that its transaction is rolled back."""
    end = time.monotonic() + PATIENCE_S
    while rows("SELECT 1 FROM pg_stat_activity WHERE application_name = 'mortal'"):
        assert time.monotonic() < end, "the server has not noticed that its client died"
        time.sleep(0.002)


def let_fences_end(execute: Callable[[str], Any]) -> None:
    """End the fences of a dead process's requests, as if their time had passed."""
    execute("UPDATE dredge_tombstone SET due_ms = 0, fenced_until_ms = NULL WHERE token IS NOT NULL")


def cut_commits(which: int) -> Callable[[], None]:
    """Cut the connection right after the `which`-th COMMIT was sent.  Returns a function that undoes this.

    The server commits, but the client does not receive the answer: for it the outcome is unknown.
    """
    target = db.obj
    commit = target.commit
    seen = 0

    def commit_and_lose() -> Any:
        nonlocal seen
        seen += 1
        if seen != which:
            return commit()
        connection = target.connection()
        _send_commit(connection)
        # An answer that arrived before the socket was shut down must not be read.
        connection.close()
        return commit()

    target.commit = commit_and_lose
    return lambda: target.__dict__.pop("commit", None)


def _send_commit(connection: Any) -> None:
    """Send COMMIT as a message of the protocol, then shut the socket down."""
    query = b"COMMIT\0"
    message = b"Q" + (len(query) + 4).to_bytes(4, "big") + query
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.setblocking(True)
        wire.sendall(message)
        # The server reads the message before it notices that the client is gone.
        wire.shutdown(socket.SHUT_RDWR)
