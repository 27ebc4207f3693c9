"""Steps: real operations in threads that stop before each statement, each commit and each storage call.

An actor runs an operation in a thread of its own, on a connection of its own.  Before everything
that others can see it stops at a *point* and says what it would do next; `Scheduler.advance` lets
exactly one actor do it.  An actor whose statement waits for a lock that another one holds is
*blocked* (PostgreSQL itself is asked); it goes on by itself when the lock is free, and the scheduler
waits until it has come to its next point, so a run is determined by who is let go when.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg2

from model.db.connection import connection, db
from model.db.tables import OWN_TABLES, REGISTRY_TABLES
from tests.support.patience import PATIENCE_S

# Nothing that another actor could see, or be stopped by.
INVISIBLE = re.compile(
    r"^\s*(PREPARE|DEALLOCATE|SET |SAVEPOINT|RELEASE|ROLLBACK|SELECT 1\b|SELECT \(extract)", re.I
)
READS = re.compile(r"^\s*(SELECT|WITH|FETCH)\b", re.I)
CHANGES = re.compile(
    r"\b(INSERT|UPDATE|DELETE|FOR\s+(NO KEY )?(UPDATE|SHARE)|FOR KEY SHARE)\b|advisory", re.I
)
NAMES = {model._meta.table_name for model in (*REGISTRY_TABLES, *OWN_TABLES)}
TABLE = re.compile(r'"user"|\b(?:' + "|".join(sorted(NAMES - {"user"}, key=len, reverse=True)) + r")\b")
# A row that refers to another locks it: whoever writes the first meets whoever writes the second.
REFERS = {
    model._meta.table_name: {f.rel_model._meta.table_name for f in model._meta.refs}
    for model in REGISTRY_TABLES
}


@dataclass(frozen=True)
class Step:
    """What an actor is about to do: `tables` it touches, and whether it changes or locks something."""

    what: str
    tables: frozenset[str]
    changes: bool

    def conflicts(self, other: Step) -> bool:
        """May it matter which of the two comes first?"""
        return (self.changes or other.changes) and bool(self.tables & other.tables)

    def __str__(self) -> str:
        return " ".join(self.what.split())[:110]


def statement_step(sql: str) -> Step:
    """The step of one statement, judged by its text."""
    tables = {name.strip('"') for name in TABLE.findall(sql)}
    changes = bool(CHANGES.search(sql)) or not READS.match(sql)
    if changes:
        tables |= {parent for table in tables for parent in REFERS.get(table, ())}
    if "advisory" in sql:
        tables.add("advisory lock")
    return Step(sql, frozenset(tables), changes)


@dataclass
class Outcome:
    """How an actor ended: with a value, or with an error."""

    value: Any = None
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        """True where the operation did not raise."""
        return self.error is None


class Actor:
    """One operation in one thread."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        self.name, self.work = name, work
        self.outcome: Outcome | None = None
        self.pending: Step | None = None
        self.pid = 0
        self.blocked = False
        self._touched: set[str] = set()
        self._go, self._arrived = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; it runs to its first point."""
        self._thread.start()

    def _run(self) -> None:
        _here.actor = self
        outcome = Outcome()
        try:
            with connection():
                self.pid = db.obj.connection().get_backend_pid()
                # What it reads first, a clock for example, it reads when it is let go.
                self.stop_before(Step("begin", frozenset(), False))
                outcome.value = self.work()
        except BaseException as error:  # noqa: BLE001  the check judges it
            outcome.error = error
        finally:
            _here.actor = None
        self.pending, self.outcome = None, outcome
        self._arrived.release()

    def stop_before(self, step: Step) -> None:
        """Called in the actor's thread: say what comes next and wait to be let go."""
        if step.what == "COMMIT":
            step = Step("COMMIT", frozenset(self._touched), bool(self._touched))
            self._touched = set()
        elif step.changes:
            self._touched |= step.tables
        self.pending = step
        self._arrived.release()
        self._go.acquire()

    def release_pushes(self) -> None:
        """Do the pending step and run to the next point."""
        self.pending = None
        self._go.release()

    def arrived(self, timeout_s: float) -> bool:
        """Has it come to its next point, or to its end?"""
        return self._arrived.acquire(timeout=timeout_s)

    def join(self) -> None:
        """Wait for the thread's very end."""
        self._thread.join(PATIENCE_S)


_here = threading.local()
_prepared: dict[str, str] = {}


def stop_before(step: Step) -> None:
    """A point of the actor that runs in this thread; nothing elsewhere."""
    actor: Actor | None = getattr(_here, "actor", None)
    if actor is not None:
        actor.stop_before(step)


@contextmanager
def hooked(rewrite: Callable[[str], str]) -> Iterator[None]:
    """Stop actors before each statement and each commit that goes through `model.db.connection`.

    `rewrite` says what is sent instead of a statement's text.
    For the life of a state, not of a run: what is prepared on a connection is prepared once.
    """
    database = db.obj
    execute, commit = database.execute_sql, database.commit

    def execute_sql(sql: str, params: Any = None) -> Any:
        if match := re.match(r"PREPARE (\w+)", sql):
            _prepared[match.group(1)] = sql
        elif not INVISIBLE.match(sql):
            name = re.match(r"EXECUTE (\w+)", sql)
            text = sql if name is None else _prepared.get(name.group(1), sql).partition(" AS ")[2]
            stop_before(statement_step(text))
        return execute(rewrite(sql), params)

    def commit_sql() -> Any:
        stop_before(Step("COMMIT", frozenset(), True))
        return commit()

    database.execute_sql, database.commit = execute_sql, commit_sql
    try:
        yield
    finally:
        del database.execute_sql, database.commit


@dataclass
class Scheduler:
    """The actors of one run, and the look at PostgreSQL that tells who waits for whom."""

    actors: Sequence[Actor]
    monitor: psycopg2.extensions.connection
    ended: set[int] = field(default_factory=set)

    def begin(self) -> None:
        """Bring every actor to its first point."""
        for actor in self.actors:
            actor.start()
            self._await(actor)

    def ready(self) -> list[int]:
        """Numbers of the actors that stand at a point."""
        return [n for n, actor in enumerate(self.actors) if actor.pending is not None and not actor.blocked]

    def advance(self, number: int) -> None:
        """Let one actor do its step; then see whom that has set free."""
        self.actors[number].release_pushes()
        self._await(self.actors[number])
        for actor in self.actors:
            if actor.blocked:
                self._await(actor, at_once=True)

    def wait_for_the_server(self) -> None:
        """Everybody is blocked: the server breaks the deadlock."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for actor in [each for each in self.actors if each.blocked]:
                self._await(actor, at_once=True)
                if not actor.blocked:
                    return
            time.sleep(0.005)
        raise AssertionError("all actors are blocked, and the server does not end it")

    def abandon(self) -> None:
        """Let every actor run to its end, whatever happens."""
        for actor in self.actors:
            while actor.outcome is None:
                if actor.pending is not None:
                    actor.release_pushes()
                with suppress(AssertionError):
                    self._await(actor)
        for actor in self.actors:
            actor.join()

    def _await(self, actor: Actor, *, at_once: bool = False) -> None:
        """Until the actor has arrived or is blocked by a lock."""
        end = time.monotonic() + PATIENCE_S
        patience_s = 0.0 if at_once else 0.004
        while True:
            if actor.arrived(patience_s):
                actor.blocked = False
                return
            if self._waits_for_a_lock(actor):
                actor.blocked = True
                return
            patience_s = 0.002
            assert time.monotonic() < end, f"{actor.name} neither ended nor came to a point"

    def _waits_for_a_lock(self, actor: Actor) -> bool:
        with self.monitor.cursor() as cursor:
            cursor.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (actor.pid,))
            return bool(cursor.fetchone()[0])  # type: ignore[index]
