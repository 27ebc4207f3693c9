"""A program with its connection and its next operation."""

from __future__ import annotations

from typing import Any, Protocol

from bench.model.database import Database, Running, Transaction
from bench.model.operations import End, Operation, Program, Refused, Statement


class Session:
    """A program's connection to the model's database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.transaction = Transaction()
        self._running: Running | None = None
        self.waits_for: list[Transaction] = []

    def execute(self, statement: Statement) -> tuple[bool, Any]:
        """Execute the statement.  Returns (True, result), or (False, None) if it waits; then call `go_on`."""
        if statement.__class__ is End:
            self.database.end(self.transaction, statement)
            self._running = None
            return True, None
        self._running = self.database.execute(self.transaction, statement)
        return self.go_on()

    def go_on(self) -> tuple[bool, Any]:
        """Try a waiting statement again.  Returns as `execute` does."""
        assert self._running is not None
        try:
            self.waits_for = next(self._running)
        except StopIteration as done:
            return True, done.value
        return False, None

    @property
    def open(self) -> bool:
        """Return whether a transaction is open."""
        return self._running is not None

    def rollback(self) -> None:
        """End the transaction of a program that ends early."""
        if self._running is not None:
            self._running.close()
            self._running = None
        self.database.end(self.transaction, End(False))


class AnySession(Protocol):
    """A connection to the model's database or to PostgreSQL."""

    def execute(self, statement: Statement) -> tuple[bool, Any]: ...
    def go_on(self) -> tuple[bool, Any]: ...
    def rollback(self) -> None: ...
    @property
    def open(self) -> bool: ...


class Actor:
    """A program, its connection, and its next operation."""

    __slots__ = ("blocked", "ended", "error", "name", "pending", "program", "results", "session")

    def __init__(self, name: str, program: Program, session: AnySession) -> None:
        self.name, self.program, self.session = name, program, session
        self.pending: Operation | None = None
        self.blocked = self.ended = False
        self.error: Exception | None = None
        self.results: list[Any] = []
        self.take(None)

    def take(self, result: Any) -> None:
        """Pass the result to the program, and run it to its next operation."""
        try:
            self.pending = self.program.send(result)
        except StopIteration:
            self._end(None)
        except Refused as error:
            self._end(error)

    def fail(self, error: Exception) -> None:
        """End the program after an error of its statement, since programs handle no errors."""
        self.program.close()
        self._end(error)

    def _end(self, error: Exception | None) -> None:
        self.error, self.pending, self.blocked, self.ended = error, None, False, True
        self.session.rollback()
