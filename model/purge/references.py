"""The rows that refer to a purged row.  A foreign key without a rule stops the purge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from model.db.connection import fetch_one
from model.db.introspection import Reference, find_references
from model.purge.rules import COLLECTED, NULL, PURGE, RULES

# (table, column) pairs: the column of each pair refers to the table of the next pair, the last to the root.
Chain = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Step:
    """Rows of one table that lead to the purged row: they are deleted, or their column is set to null."""

    chain: Chain
    action: str

    @property
    def table(self) -> str:
        return self.chain[0][0]

    @cached_property
    def condition(self) -> str:
        """Return the SQL condition for the rows of `table`; `%(root)s` is the id of the purged row."""
        condition = "%(root)s"
        for n, (_, column) in enumerate(reversed(self.chain)):
            if n:
                table = self.chain[-n][0]
                condition = f"ANY(ARRAY(SELECT id FROM {quoted(table)} WHERE {condition}))"
            condition = f"{quoted(column)} = {condition}"
        return condition

    @cached_property
    def exists(self) -> str:
        """Return SQL that tests whether any row leads to the purged row."""
        return f"SELECT EXISTS (SELECT FROM {quoted(self.table)} WHERE {self.condition}) AS found"

    @cached_property
    def statement(self) -> str:
        """Return SQL that deletes at most `%(limit)s` of the rows, or sets their column to null."""
        table, column = map(quoted, self.chain[0])
        chosen = f"id = ANY(ARRAY(SELECT id FROM {table} WHERE {self.condition} LIMIT %(limit)s))"
        if self.action == NULL:
            return f"UPDATE {table} SET {column} = NULL WHERE {chosen}"
        return f"DELETE FROM {table} WHERE {chosen}"


@dataclass(frozen=True)
class Steps:
    """All steps for rows of `root`; `own` is in an order that satisfies the foreign keys."""

    root: str
    own: tuple[Step, ...]
    collected: tuple[Step, ...]
    unknown: tuple[Step, ...]

    def find_unknown_rows(self, root_id: int) -> list[str]:
        """Return columns without a rule that refer to this row; only reads."""
        return [f"{step.table}.{step.chain[0][1]}" for step in self.unknown if has_rows(step, root_id)]


def has_rows(step: Step, root_id: int) -> bool:
    """Return whether any row of the step leads to this one."""
    return bool(fetch_one(step.exists, {"root": root_id}).found)


def read_steps(root: str) -> Steps:
    """Read the steps of a purge of rows of `root` (`repository` or `user`) from its foreign keys."""
    by_target: dict[str, list[Reference]] = {}
    for reference in sorted(find_references()):
        by_target.setdefault(reference.target, []).append(reference)
    steps = list(_steps(root, (), by_target))
    return Steps(
        root,
        tuple(step for step in steps if step.action in (PURGE, NULL)),
        tuple(step for step in steps if step.action == COLLECTED),
        tuple(step for step in steps if not step.action),
    )


def find_unknown_references() -> list[str]:
    """Return foreign keys without a rule, which would stop a purge, one sentence each; only reads."""
    found = {
        f"{step.table}.{step.chain[0][1]} refers to {step.chain[1][0] if step.chain[1:] else root}"
        for root in ("repository", "user")
        for step in read_steps(root).unknown
    }
    return [f"{each} and is unknown: its rows will stop purges" for each in sorted(found)]


def _steps(target: str, chain: Chain, by_target: Mapping[str, list[Reference]]) -> Iterator[Step]:
    """Yield steps depth first: rows that refer to a row come before it, so no foreign key is violated."""
    for reference in by_target.get(target, ()):
        longer = ((reference.table, reference.column), *chain)
        action = RULES.get(target, {}).get(f"{reference.table}.{reference.column}", "")
        above = {target, *(table for table, _ in chain)}
        if action in (PURGE, COLLECTED) and reference.table not in above:
            yield from _steps(reference.table, longer, by_target)
        if action in ("", PURGE, NULL, COLLECTED):
            yield Step(longer, action)


def quoted(name: str) -> str:
    """Return the name of a table or column as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'
