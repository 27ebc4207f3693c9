"""What commands share: settings, a connected database, tables, numbers for people, progress and failure."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from model.db import connection as database
from worker import logs
from worker.settings import Settings

_HOW = "set it ({example}), or run the command on servers of its own: dredge embedded -- dredge …"
_EXAMPLES = {
    "database_url": "postgresql://quay@host:5432/quay",
    "broker_url": "redis://host:6379/0",
    "storage": "/path/to/directory or s3://bucket/prefix",
}


def emit_json(obj: Any) -> None:
    """One JSON value on one line of standard output."""
    click.echo(json.dumps(obj, default=str, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """A table on standard output; numbers to the right, nothing cut off when nobody watches."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
        made.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_cell(value) for value in row))
    console(sys.stdout).print(made)


def console(stream: Any = None) -> Console:
    """A console on the stream (standard error by default), wide enough when it is no terminal."""
    stream = stream or sys.stderr
    return Console(file=stream, width=None if stream.isatty() else 200, highlight=False)


def human_bytes(n: float) -> str:
    """1536 as `1.5 KiB`."""
    if abs(n) < 1024:
        return f"{int(n)} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        n /= 1024
        if abs(n) < 1024:
            return f"{n:.1f} {unit}"
    return f"{n / 1024:.1f} PiB"


def human_ms(milliseconds: float) -> str:
    """90000 as `1m 30s`."""
    seconds = int(milliseconds // 1000)
    if seconds < 60:
        return f"{milliseconds / 1000:.1f}s"
    for unit, size, lower, smaller in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if seconds >= size:
            return f"{seconds // size}{unit} {seconds % size // smaller}{lower}"
    return f"{seconds}s"


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Any]:
    """A bar on standard error: `with progress("collecting", 10) as advance: advance(1, total=12)`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(description, total=total)

        def advance(step: float = 0, **fields: Any) -> None:
            bar.update(task, advance=step, **fields)

        yield advance


def settings() -> Settings:
    """The configuration of this process's environment; sets up the log, too.

    A command logs warnings only, unless the environment asks for more.
    """
    read = Settings.from_env(os.environ)
    asked = "DREDGE_LOG_LEVEL" in os.environ
    logs.configure(read if asked else dataclasses.replace(read, log_level="warning"))
    return read


def require(read: Settings, *names: str) -> None:
    """Fail in one line where a setting that the command needs is empty."""
    for name in names:
        if not getattr(read, name):
            fail(f"DREDGE_{name.upper()} is not set: " + _HOW.format(example=_EXAMPLES[name]))


@contextmanager
def connected(read: Settings) -> Iterator[None]:
    """Configure the database and hold a connection for the block; fails clearly without a URL."""
    require(read, "database_url")
    database.configure(read.database_url, application_name="dredge-cli", prepare=read.prepared_statements)
    try:
        with database.connection():
            yield
    finally:
        database.db.close_all()


def fail(message: str) -> NoReturn:
    """End the command with one line on standard error and exit code 1."""
    click.echo(f"dredge: {logs.masked(message)}", err=True)
    sys.exit(1)


def _cell(value: object) -> Text:
    if value is None:
        return Text("-")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    return Text(f"{value:,}" if isinstance(value, int) else str(value))
