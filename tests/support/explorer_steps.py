"""Steps: real operations in threads that stop before each statement, each commit and each storage call.

An actor runs an operation in its own thread, on its own connection.  Before each step that others can see, it
stops at a *point* and reports the step; `Scheduler.advance` lets exactly one actor continue.  An actor whose
statement waits for another actor's lock is *blocked* (the scheduler asks PostgreSQL).  It continues by itself
when the lock is free, and the scheduler waits until it reaches its next point, so the order of the actors
determines a run.
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

# Statements that no other actor can see or wait for.
INVISIBLE = re.compile(
    r"^\s*(PREPARE|DEALLOCATE|SET |SAVEPOINT|RELEASE|ROLLBACK|SELECT 1\b|SELECT \(extract)", re.I
)
READS = re.compile(r"^\s*(SELECT|WITH|FETCH)\b", re.I)
CHANGES = re.compile(
    r"\b(INSERT|UPDATE|DELETE|FOR\s+(NO KEY )?(UPDATE|SHARE)|FOR KEY SHARE)\b|advisory", re.I
)
NAMES = {model._meta.table_name for model in (*REGISTRY_TABLES, *OWN_TABLES)}
TABLE = re.compile(r'"user"|\b(?:' + "|".join(sorted(NAMES - {"user"}, key=len, reverse=True)) + r")\b")
# A write of a row locks the row that it references, so it conflicts with writes of that row.
REFERS = {
    model._meta.table_name: {f.rel_model._meta.table_name for f in model._meta.refs}
    for model in REGISTRY_TABLES
}


@dataclass(frozen=True)
class Step:
    """The next step of an actor: the `tables` that it uses, and whether it changes or locks rows."""

    what: str
    tables: frozenset[str]
    changes: bool

    def conflicts(self, other: Step) -> bool:
        """Return whether the order of the two steps may matter."""
        return (self.changes or other.changes) and bool(self.tables & other.tables)

    def __str__(self) -> str:
        return " ".join(self.what.split())[:110]


def statement_step(sql: str) -> Step:
    """Return the step of a statement, derived from its text."""
    tables = {name.strip('"') for name in TABLE.findall(sql)}
    changes = bool(CHANGES.search(sql)) or not READS.match(sql)
    if changes:
        tables |= {parent for table in tables for parent in REFERS.get(table, ())}
    if "advisory" in sql:
        tables.add("advisory lock")
    return Step(sql, frozenset(tables), changes)


@dataclass
class Outcome:
    """The result of an actor: a value or an error."""

    value: Any = None
    error: BaseException | None = None

    @property
    def ok(self) -> bool:
        """Return whether the operation did not raise."""
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
        """Start the actor; it runs to its first point."""
        self._thread.start()

    def _run(self) -> None:
        _here.actor = self
        outcome = Outcome()
        try:
            with connection():
                self.pid = db.obj.connection().get_backend_pid()
                # Stops before the operation begins, so that its first reads, such as of a clock, come later.
                self.stop_before(Step("begin", frozenset(), False))
                outcome.value = self.work()
        except BaseException as error:  # noqa: BLE001  the check judges it
            outcome.error = error
        finally:
            _here.actor = None
        self.pending, self.outcome = None, outcome
        self._arrived.release()

    def stop_before(self, step: Step) -> None:
        """Report the next step and wait until the scheduler lets the actor continue; called in its thread."""
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
        """Return whether the actor has reached its next point, or its end."""
        return self._arrived.acquire(timeout=timeout_s)

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join(PATIENCE_S)


_here = threading.local()
_prepared: dict[str, str] = {}


def stop_before(step: Step) -> None:
    """Stop the actor of this thread before the step; do nothing in other threads."""
    actor: Actor | None = getattr(_here, "actor", None)
    if actor is not None:
        actor.stop_before(step)


@contextmanager
def hooked(rewrite: Callable[[str], str]) -> Iterator[None]:
    """Stop actors before each statement and each commit that goes through `model.db.connection`.

    `rewrite` returns the text that is sent instead of a statement.  Use it once for all runs of a state, so
    that each connection prepares a statement only once.
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
    """The actors of one run, and a connection that asks PostgreSQL which actor waits for which."""

    actors: Sequence[Actor]
    monitor: psycopg2.extensions.connection
    ended: set[int] = field(default_factory=set)

    def begin(self) -> None:
        """Start every actor, and wait until each is at its first point."""
        for actor in self.actors:
            actor.start()
            self._await(actor)

    def ready(self) -> list[int]:
        """Return the numbers of the actors that are at a point."""
        return [n for n, actor in enumerate(self.actors) if actor.pending is not None and not actor.blocked]

    def advance(self, number: int) -> None:
        """Let one actor do its step, then wait for the actors that it unblocked."""
        self.actors[number].release_pushes()
        self._await(self.actors[number])
        for actor in self.actors:
            if actor.blocked:
                self._await(actor, at_once=True)

    def wait_for_the_server(self) -> None:
        """Wait until the server breaks a deadlock: all actors are blocked."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for actor in [each for each in self.actors if each.blocked]:
                self._await(actor, at_once=True)
                if not actor.blocked:
                    return
            time.sleep(0.005)
        raise AssertionError("all actors are blocked, and the server does not end it")

    def abandon(self) -> None:
        """Let every actor run to its end, also after errors."""
        for actor in self.actors:
            while actor.outcome is None:
                if actor.pending is not None:
                    actor.release_pushes()
                with suppress(AssertionError):
                    self._await(actor)
        for actor in self.actors:
            actor.join()

    def _await(self, actor: Actor, *, at_once: bool = False) -> None:
        """Wait until the actor is at its next point or is blocked by a lock."""
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
