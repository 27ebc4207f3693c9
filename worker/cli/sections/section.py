"""A part of `dredge status`: facts for machines, and the tables that show them to people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import click

from worker.cli import tables


@dataclass(frozen=True)
class Table:
    """A table as `tables.table` takes it, and a line below it."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Section:
    """`facts` are keys of the JSON object, each in one section only; a table without rows is not shown."""

    facts: dict[str, object]
    tables: Sequence[Table] = field(default=())

    def show(self) -> bool:
        """Print the tables.  Returns whether there was one."""
        shown = [table for table in self.tables if table.rows]
        for number, table in enumerate(shown):
            if number:
                click.echo()
            tables.table(table.columns, table.rows, title=table.title)
            if table.note:
                click.echo(table.note)
        return bool(shown)
