"""`dredge embedded -- COMMAND`: run a command with servers of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from model.db import connection as database
from model.db import schema
from worker.cli import output
from worker.local.embedded import EmbeddedServers


@click.command("embedded", context_settings={"ignore_unknown_options": True})
@click.option("--init", "initialise", is_flag=True, help="Create all tables first, as `dredge init` does.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the data; without it, the data is deleted at the end.",
)
@click.argument("command_line", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND…")
def command(initialise: bool, directory: Path | None, command_line: tuple[str, ...]) -> None:
    """Run a command with fresh embedded servers.

    The command reads their URLs from DREDGE_DATABASE_URL, DREDGE_BROKER_URL, DREDGE_CACHE_URL and
    DREDGE_STORAGE.  The servers stop when the command ends; the exit code is the command's.
    """
    with EmbeddedServers(directory, durable=directory is not None) as servers:
        if initialise:
            create_tables(servers.database_url)
        code = run(command_line, servers.environment())
    sys.exit(code)


def create_tables(url: str) -> None:
    """Do what `dredge init` does, in this process."""
    database.configure(url)
    try:
        schema.create()
    finally:
        database.db.close_all()


def command_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child, with `celery` and `dredge` of this Python first in the path."""
    here = Path(sys.executable).parent
    return {**os.environ, **more, "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def run(command_line: Sequence[str], more: Mapping[str, str]) -> int:
    """Run the command, and pass SIGTERM on to it.  Returns its exit code, or 128 + n after signal n."""
    with _passing_on() as follow:
        try:
            child = subprocess.Popen(command_line, env=command_environment(more))
        except OSError as error:
            output.fail(f"{command_line[0]}: {error.strerror}")
        follow(child)
        code = child.wait()
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _passing_on() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """Pass SIGTERM on to the child.  Ctrl-C in a terminal reaches the child directly.

    The handler is installed before the child starts, and stores a signal that arrives in between.
    """
    children: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def pass_on(number: int, frame: Any) -> None:
        if children:
            children[0].send_signal(number)
        else:
            early.append(number)

    def follow(child: subprocess.Popen[bytes]) -> None:
        # Only after the start, because a child inherits ignored signals.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        children.append(child)
        for number in early:
            child.send_signal(number)

    before = signal.getsignal(signal.SIGINT), signal.signal(signal.SIGTERM, pass_on)
    try:
        yield follow
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
