"""Print tables on a terminal, and plain lines into a pipe."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import click
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from model.human import human_bytes as human_bytes
from model.human import human_ms as human_ms
from worker.cli.output import console

_DIGEST = re.compile(r"\b(sha\d{3}:[0-9a-f]{12})[0-9a-f]{52,}")
# Blanks that the table puts between two columns.
_GAP = 2


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """Print a table on standard output.

    On a terminal: one line per row, numbers aligned right, digests shortened, long cells cut to the width.
    In a pipe: a header and the rows, cells separated by a tab, nothing cut or padded.
    """
    if sys.stdout.isatty():
        _print_for_people(columns, rows, title)
        return
    for line in (columns, *rows):
        click.echo("\t".join(_text(value) for value in line))


def _print_for_people(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None) -> None:
    target = console(sys.stdout)
    shown = [[_DIGEST.sub(r"\1…", _text(value, grouped=True)) for value in row] for row in rows]
    widths = [max(len(line[index]) for line in (columns, *shown)) for index in range(len(columns))]
    # The widest column is made narrower until a row fits on one line.
    while sum(widths) + _GAP * len(widths) > target.width and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, (name, width) in enumerate(zip(columns, widths, strict=True)):
        numeric = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
        justify: JustifyMethod = "right" if numeric else "left"
        made.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", width=width)
    for line in shown:
        made.add_row(*map(Text, line))
    target.print(made)


def _text(value: object, *, grouped: bool = False) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if grouped and isinstance(value, int) else str(value)
