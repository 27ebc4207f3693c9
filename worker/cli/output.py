"""Functions that commands share: settings, the database, JSON, progress and errors."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
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

from model.db import connection as database
from model.errors import NoSuchNamespace, NoSuchRepository, NoSuchTag, NothingDeleted
from worker import logs
from worker.cli.errors import say_error
from worker.jobs.similar import with_suggestion
from worker.settings import Settings

_DIGEST = re.compile(r"\b(sha\d{3}:[0-9a-f]{12})[0-9a-f]{52,}")
_HOW = "set it ({example})"
_EMBEDDED = ", or run the command on servers of its own: dredge embedded -- dredge …"
_SERVERS = ("database_url", "broker_url", "storage")
_EXAMPLES = {
    "database_url": "postgresql://quay@host:5432/quay",
    "broker_url": "redis://host:6379/0",
    "in_use_source": "/path/to/list, https://host/list or kubernetes",
    "webhook_key": "openssl rand -base64 32",
    "storage": "/path/to/directory or s3://bucket/prefix",
}


def emit_json(obj: Any) -> None:
    """Print one JSON value on one line of standard output."""
    click.echo(json.dumps(obj, default=str, ensure_ascii=False))


def short(text: str) -> str:
    """Shorten the digests of a text, as a terminal shows them."""
    return _DIGEST.sub(r"\1…", text)


def line(text: str) -> None:
    """Print a line on standard output, with short digests on a terminal."""
    click.echo(short(text) if sys.stdout.isatty() else text)


def say(as_json: bool, facts: Mapping[str, object], text: str) -> None:
    """Print the facts as one JSON object, or the text as a line."""
    if as_json:
        emit_json(facts)
    else:
        line(text)


def confirm(question: str, *, as_json: bool) -> None:
    """Ask on standard error; with `--json`, fail instead.  Raises `click.Abort` if the answer is not yes."""
    if as_json:
        fail(f"nothing was changed: with --json no question is asked, give --yes ({question})")
    click.confirm(question, abort=True, err=True)


def console(stream: Any = None) -> Console:
    """Open a console on the stream, by default standard error; 200 columns wide if it is not a terminal."""
    stream = stream or sys.stderr
    return Console(file=stream, width=None if stream.isatty() else 200, highlight=False)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Any]:
    """Show a bar on standard error: `with progress("collecting", 10) as advance: advance(1, total=12)`."""
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


def settings(*, log_level: str = "warning") -> Settings:
    """Read the settings from this process's environment, and configure the log.

    A command logs from `log_level` on unless the environment sets another level.
    """
    read = Settings.from_env(os.environ)
    asked = "DREDGE_LOG_LEVEL" in os.environ
    logs.configure(read if asked else dataclasses.replace(read, log_level=log_level))
    return read


def require(read: Settings, *names: str) -> None:
    """End the command with one line if a setting that it needs is empty."""
    for name in names:
        if not getattr(read, name):
            how = _HOW.format(example=_EXAMPLES[name]) + (_EMBEDDED if name in _SERVERS else "")
            fail(f"DREDGE_{name.upper()} is not set: {how}")


@contextmanager
def connected(read: Settings) -> Iterator[None]:
    """Configure the database and hold a connection for the block; ends the command if there is no URL.

    An error about a name that does not exist gets the names that were probably meant.
    """
    require(read, "database_url")
    database.configure(read.database_url, application_name="dredge-cli", pooled=not read.prepared_statements)
    try:
        with database.connection():
            try:
                yield
            except (NoSuchNamespace, NoSuchRepository, NoSuchTag, NothingDeleted) as error:
                raise with_suggestion(error) from None
    finally:
        database.db.close_all()


def fail(message: str) -> NoReturn:
    """End the command with exit code 1 and one line on standard error, or one JSON object with `--json`."""
    context = click.get_current_context(silent=True)
    say_error(message, as_json=bool(context and context.params.get("as_json")))
    sys.exit(1)
