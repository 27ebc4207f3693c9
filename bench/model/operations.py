"""The operations of the model's programs; each operation is one step of a schedule.

A program is a generator that yields operations and receives their results.  The operations of the
database are single statements of READ COMMITTED; `bench.model.database` and `bench.model.postgres`
both execute them.  `Do` is any other operation: on the clock, the object store or Quay's Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

KEY_SHARE, SHARE, NO_KEY_UPDATE, UPDATE = range(4)

Row = dict[str, Any]
Where = Mapping[str, Any]
_ALL: Where = {}


@dataclass(slots=True)
class Select:
    """SELECT the rows of a table, in the order of their IDs.

    `where`: a column equals a value, or one value of a tuple.  `upto`: a column is at most a value.
    """

    table: str
    where: Where = field(default_factory=lambda: _ALL)
    upto: Where = field(default_factory=lambda: _ALL)


@dataclass(slots=True)
class Lock:
    """SELECT … ORDER BY id FOR `mode`.  With `skip`, skips locked rows and never waits."""

    table: str
    where: Where
    mode: int
    skip: bool = False
    upto: Where = field(default_factory=lambda: _ALL)


@dataclass(slots=True)
class Insert:
    """INSERT a row.  Its parents are locked FOR KEY SHARE, as foreign keys do."""

    table: str
    row: Row


@dataclass(slots=True)
class Update:
    """UPDATE columns that are not part of a key.  Returns the changed rows."""

    table: str
    where: Where
    values: Where


@dataclass(slots=True)
class Delete:
    """DELETE rows.  Fails if another row refers to one of them.  Returns the deleted rows."""

    table: str
    where: Where


@dataclass(slots=True)
class Advisory:
    """Take a named lock until the end of the transaction.  With `skip`, returns False instead of waiting."""

    key: str
    skip: bool = False


@dataclass(slots=True)
class End:
    """COMMIT or ROLLBACK."""

    commit: bool


@dataclass(slots=True)
class Do:
    """Call `what(world, *arguments)`, if `ready` is given only after `ready(world, *arguments)` is true."""

    what: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    ready: Callable[..., bool] | None = None


@dataclass(slots=True)
class Sleep:
    """Wait until the clock reaches `until`, which happens at the latest when no other actor can go on."""

    until: int


COMMIT, ROLLBACK = End(True), End(False)

Statement = Select | Lock | Insert | Update | Delete | Advisory | End
Operation = Statement | Do | Sleep
Program = Generator[Operation, Any, Any]


class Refused(Exception):
    """A program ended without success and without a promise, as the protocol allows."""


class Deadlock(Exception):
    """The server ended the transaction to break a deadlock."""


class ForeignKey(Exception):
    """The server ended the transaction because a parent is missing or a child still exists."""
