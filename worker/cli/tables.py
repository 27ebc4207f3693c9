"""Print tables on a terminal, and plain lines into a pipe."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Sequence

import click
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from model.human import human_bytes as human_bytes
from model.human import human_ms as human_ms
from worker.cli.output import console, short

_SECONDS = re.compile(r"\b(\d{4}-\d\d-\d\d \d\d:\d\d):\d\d UTC")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d(Z|:\d\d UTC)")
# Blanks that the table puts between two columns.
_GAP = 2
# Cells before a sentence have this width.
_CELL = 10
# A sentence is cut to no fewer characters than this while another column can be made narrower.
_SENTENCE = 16


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


def sentence(cells: Sequence[str], text: str) -> None:
    """Print a row that ends in a sentence of any length.

    On a terminal, further lines of the sentence begin below its first word.  In a pipe, tabs separate cells.
    """
    if not sys.stdout.isatty():
        click.echo("\t".join((*cells, text)))
        return
    start = "".join(f"{cell:{_CELL}}" for cell in cells)
    width = max(console(sys.stdout).width, len(start) + _SENTENCE)
    click.echo(
        textwrap.fill(
            text,
            width,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _print_for_people(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None) -> None:
    target = console(sys.stdout)
    shown = [[short(_text(value, grouped=True)) for value in row] for row in rows]
    shown, widths = _fit(columns, shown, target.width)
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, (name, width) in enumerate(zip(columns, widths, strict=True)):
        numeric = bool(rows) and all(_is_number(row[index]) for row in rows)
        justify: JustifyMethod = "right" if numeric else "left"
        made.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis", width=width)
    for line in shown:
        made.add_row(*map(Text, line))
    target.print(made)


def _fit(columns: Sequence[str], shown: list[list[str]], width: int) -> tuple[list[list[str]], list[int]]:
    """Return the cells and the widths of columns with which a row fits on one line.

    Times lose their seconds first, then sentences are cut, then names and numbers.
    """
    widths = _widths(columns, shown)
    if _total(widths) > width:
        shown = [[_SECONDS.sub(r"\1Z", cell) for cell in line] for line in shown]
        widths = _widths(columns, shown)
    sentences = [index for index in range(len(columns)) if any(_is_sentence(line[index]) for line in shown)]
    for cut, shortest in ((sentences, _SENTENCE), (range(len(columns)), 1)):
        while _total(widths) > width and (wide := [i for i in cut if widths[i] > shortest]):
            widths[max(wide, key=widths.__getitem__)] -= 1
    return shown, widths


def _widths(columns: Sequence[str], shown: list[list[str]]) -> list[int]:
    return [max(len(line[index]) for line in (columns, *shown)) for index in range(len(columns))]


def _total(widths: list[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _is_sentence(cell: str) -> bool:
    return " " in cell and len(cell) > _SENTENCE and not _TIME.fullmatch(cell)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: object, *, grouped: bool = False) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if grouped and isinstance(value, int) else str(value)
