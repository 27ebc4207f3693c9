"""The operations of the model's programs; each operation is one step of a schedule.

A program is a generator that yields operations and receives their results.  The operations of the
database are single statements of READ COMMITTED; `bench.model.database` and `bench.model.postgres`
both carry them out.  `Do` is everything else: the clock, the object store, Quay's Redis.
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
    """Rows of a table that the statement's snapshot shows, in id order.

    `where` asks for equal values, or for one of a tuple; `upto` for values that are not above.
    """

    table: str
    where: Where = field(default_factory=lambda: _ALL)
    upto: Where = field(default_factory=lambda: _ALL)


@dataclass(slots=True)
class Lock:
    """SELECT … ORDER BY id FOR `mode`; with `skip` it takes what is free and never waits."""

    table: str
    where: Where
    mode: int
    skip: bool = False
    upto: Where = field(default_factory=lambda: _ALL)


@dataclass(slots=True)
class Insert:
    """A new row with the given id; its parents are locked FOR KEY SHARE as foreign keys do."""

    table: str
    row: Row


@dataclass(slots=True)
class Update:
    """Change columns that no key uses.  Returns the changed rows."""

    table: str
    where: Where
    values: Where


@dataclass(slots=True)
class Delete:
    """Delete rows; fails where another row refers to one.  Returns the deleted rows."""

    table: str
    where: Where


@dataclass(slots=True)
class Advisory:
    """Take a lock of the transaction by name; with `skip` returns False instead of waiting."""

    key: str
    skip: bool = False


@dataclass(slots=True)
class End:
    """COMMIT or ROLLBACK."""

    commit: bool


@dataclass(slots=True)
class Do:
    """Call `what(world, *arguments)`; not before `ready(world, *arguments)`, where that is given."""

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
