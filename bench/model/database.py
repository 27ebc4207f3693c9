"""A database in memory that behaves as PostgreSQL does under READ COMMITTED.

Each statement sees what was committed before it began, and what its own transaction wrote.  A
statement that locks rows finds them in that snapshot, but locks, judges and returns the newest
version of each: a row that changed while the statement waited is checked again, a deleted one is left out,
and a later one is not seen.  Locks are held to the end of the transaction.  Waiting transactions are served
in the order in which they began to wait.

The model lacks table locks, unique indexes, savepoints, isolation levels above READ COMMITTED, and changes of
a key.  It also lacks one exception of PostgreSQL: SKIP LOCKED waits for a row that one transaction has first
updated and then deleted or locked FOR UPDATE.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any

from bench.model.operations import (
    KEY_SHARE,
    NO_KEY_UPDATE,
    UPDATE,
    Advisory,
    Delete,
    End,
    ForeignKey,
    Insert,
    Lock,
    Row,
    Select,
    Statement,
    Update,
    Where,
)

# The modes with which each mode conflicts: PostgreSQL's table of row-level locks.
CONFLICTS = ((UPDATE,), (NO_KEY_UPDATE, UPDATE), (1, NO_KEY_UPDATE, UPDATE), (0, 1, 2, 3))

# (child table, column) of each foreign key, by its parent.
PARENTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "manifestblob": (("manifest", "manifest"), ("blob", "blob")),
    "marker": (("blob", "blob"),),
    "tag": (("manifest", "manifest"),),
}
CHILDREN: dict[str, list[tuple[str, str]]] = {}
for _child, _parents in PARENTS.items():
    for _column, _parent in _parents:
        CHILDREN.setdefault(_parent, []).append((_child, _column))
_NONE: tuple[tuple[str, str], ...] = ()
_ANYTHING: Where = {}


class Transaction:
    """The rows that one transaction has written and locked."""

    __slots__ = ("locked", "written")

    def __init__(self) -> None:
        self.written: list[tuple[str, int, Cell]] = []
        self.locked: list[Cell] = []


class Cell:
    """A row with its committed and its uncommitted version, and the transactions that lock it."""

    __slots__ = ("holders", "owner", "pending", "row")

    def __init__(self, row: Row | None) -> None:
        self.row: Row | None = row
        self.pending: Row | None = None
        self.owner: Transaction | None = None
        self.holders: dict[Transaction, int] = {}

    def seen_by(self, transaction: Transaction) -> Row | None:
        """Return the version that a statement of this transaction sees."""
        return self.pending if self.owner is transaction else self.row

    def in_the_way(self, transaction: Transaction, mode: int) -> list[Transaction]:
        """Return other transactions whose locks conflict."""
        if not self.holders:
            return []
        conflicting = CONFLICTS[mode]
        return [t for t, held in self.holders.items() if held in conflicting and t is not transaction]

    def hold(self, transaction: Transaction, mode: int) -> None:
        """Take the lock, or a stronger one than before."""
        held = self.holders.get(transaction)
        if held is None:
            transaction.locked.append(self)
            self.holders[transaction] = mode
        elif held < mode:
            self.holders[transaction] = mode


# A running statement.  It yields the transactions that block it, waits for the first, and returns its result.
Running = Generator[list[Transaction], None, Any]


def fits(row: Row, where: Where, upto: Where = _ANYTHING) -> bool:
    """Return whether the row satisfies the conditions."""
    for column, wanted in where.items():
        if row[column] != wanted and not (wanted.__class__ is tuple and row[column] in wanted):
            return False
    return not upto or all(row[column] <= most for column, most in upto.items())


class Database:
    """Tables by name; `execute` starts a statement."""

    def __init__(self, rows: Mapping[str, Sequence[Row]]) -> None:
        self.tables = {name: {row["id"]: Cell(dict(row)) for row in given} for name, given in rows.items()}
        self.advisory: dict[str, Cell] = {}
        self._statements: dict[type, Any] = {
            Select: self._select,
            Lock: self._lock,
            Insert: self._insert,
            Update: self._update,
            Delete: self._delete,
            Advisory: self._advisory,
        }

    def rows(self, table: str, **where: Any) -> list[Row]:
        """Return the committed rows."""
        found = (cell.row for cell in self.tables[table].values())
        return [row for row in found if row is not None and fits(row, where)]

    def execute(self, transaction: Transaction, statement: Statement) -> Running:
        """Begin a statement of the transaction."""
        running: Running = self._statements[statement.__class__](transaction, statement)
        return running

    def end(self, transaction: Transaction, end: End) -> None:
        """Commit or roll back the written rows, and release every lock."""
        for table, number, cell in transaction.written:
            if end.commit:
                cell.row = cell.pending
            if cell.row is None:
                del self.tables[table][number]
            cell.pending, cell.owner = None, None
        for cell in transaction.locked:
            cell.holders.pop(transaction, None)
        transaction.written, transaction.locked = [], []

    def _snapshot(
        self, transaction: Transaction, table: str, where: Where, upto: Where = _ANYTHING
    ) -> list[Cell]:
        found = []
        for cell in self.tables[table].values():
            row = cell.pending if cell.owner is transaction else cell.row
            if row is not None and fits(row, where, upto):
                found.append((row["id"], cell))
        if len(found) > 1:
            found.sort(key=_first)
        return [cell for _, cell in found]

    def _select(self, transaction: Transaction, statement: Select) -> Running:
        cells = self._snapshot(transaction, statement.table, statement.where, statement.upto)
        yield from ()  # A plain SELECT never waits.
        return [dict(row) for cell in cells if (row := cell.seen_by(transaction)) is not None]

    def _lock(self, transaction: Transaction, statement: Lock) -> Running:
        found = []
        for cell in self._snapshot(transaction, statement.table, statement.where, statement.upto):
            if statement.skip and cell.in_the_way(transaction, statement.mode):
                continue
            while others := cell.in_the_way(transaction, statement.mode):
                yield others
            row = cell.seen_by(transaction)
            if row is None:
                continue
            # A row that no longer fits is not returned, and stays locked.
            cell.hold(transaction, statement.mode)
            if fits(row, statement.where, statement.upto):
                found.append(dict(row))
        return found

    def _insert(self, transaction: Transaction, statement: Insert) -> Running:
        for column, parent in PARENTS.get(statement.table, _NONE):
            cell = self.tables[parent].get(statement.row[column])
            if cell is None or cell.seen_by(transaction) is None:
                raise ForeignKey(f"{statement.table}.{column}")
            while others := cell.in_the_way(transaction, KEY_SHARE):
                yield others
            if cell.seen_by(transaction) is None:
                raise ForeignKey(f"{statement.table}.{column}")
            cell.hold(transaction, KEY_SHARE)
        made = Cell(None)
        self._write(transaction, statement.table, made, dict(statement.row))
        self.tables[statement.table][statement.row["id"]] = made

    def _update(self, transaction: Transaction, statement: Update) -> Running:
        changed = []
        for cell in self._snapshot(transaction, statement.table, statement.where):
            while others := cell.in_the_way(transaction, NO_KEY_UPDATE):
                yield others
            row = cell.seen_by(transaction)
            if row is None:
                continue
            cell.hold(transaction, NO_KEY_UPDATE)
            if fits(row, statement.where):
                self._write(transaction, statement.table, cell, {**row, **statement.values})
                changed.append({**row, **statement.values})
        return changed

    def _delete(self, transaction: Transaction, statement: Delete) -> Running:
        gone = []
        for cell in self._snapshot(transaction, statement.table, statement.where):
            while others := cell.in_the_way(transaction, UPDATE):
                yield others
            row = cell.seen_by(transaction)
            if row is None:
                continue
            cell.hold(transaction, UPDATE)
            if fits(row, statement.where):
                self._write(transaction, statement.table, cell, None, row["id"])
                gone.append(dict(row))
        for child, column in CHILDREN.get(statement.table, _NONE):
            for row in gone:
                left = yield from self._lock(transaction, Lock(child, {column: row["id"]}, KEY_SHARE))
                if left:
                    raise ForeignKey(f"{child}.{column}")
        return gone

    def _write(
        self, transaction: Transaction, table: str, cell: Cell, row: Row | None, number: int = 0
    ) -> None:
        if cell.owner is not transaction:
            transaction.written.append((table, row["id"] if row else number, cell))
            cell.owner = transaction
        cell.pending = row

    def _advisory(self, transaction: Transaction, statement: Advisory) -> Running:
        cell = self.advisory.setdefault(statement.key, Cell(None))
        while others := cell.in_the_way(transaction, UPDATE):
            if statement.skip:
                return False
            yield others
        cell.hold(transaction, UPDATE)
        return True


def _first(pair: tuple[int, Cell]) -> int:
    return pair[0]
