"""`dredge up`: run all processes of the Procfile in the foreground."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import click
import honcho.manager
import honcho.process
from honcho.environ import parse_procfile

from model.db import schema
from worker.cli import output
from worker.cli.embedded import command_environment, create_tables
from worker.local.embedded import EmbeddedServers
from worker.requirements import find_broker_problem, find_storage_problem
from worker.settings import Settings

PROCFILE = """\
worker: exec celery --quiet -A worker worker --concurrency=2 --loglevel=info
beat: exec celery --quiet -A worker beat --loglevel=info
"""
# Seconds in which a worker may finish the turn of its task; then all remaining processes are killed.
STOP_S = 60


@click.command("up")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path.home() / ".local/share/dredge",
    show_default="~/.local/share/dredge",
    help="Where embedded servers keep their data.",
)
@click.option(
    "--procfile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What to run (default: ./Procfile, else a worker and a beat).",
)
def command(directory: Path, procfile: Path | None) -> None:
    """Run the whole system in the foreground.

    Servers without a configured URL run embedded: PostgreSQL, Valkey, a directory for objects.  With a
    configured database, DREDGE_STORAGE must be set as well.  The data of embedded servers stay in the
    directory.  Ctrl-C stops everything.
    """
    settings = output.settings()
    if settings.database_url:
        # With a configured database, an empty embedded store would make every blob appear missing.
        output.require(settings, "storage")
    _require_servers(settings)
    processes = parse_procfile(_procfile_text(procfile)).processes
    servers = EmbeddedServers(
        directory,
        postgres=not settings.database_url,
        valkey=not settings.broker_url,
        storage=not settings.storage,
        durable=True,
    )
    with servers:
        environment = _environment(settings, servers)
        if settings.database_url:
            _require_tables(settings)
        else:
            create_tables(servers.database_url)
        with _written(directory / "environment", environment):
            code = _run(processes, command_environment(environment))
    sys.exit(code)


def _require_servers(settings: Settings) -> None:
    """End the command before it starts a server or process, if a configured server refuses them."""
    refused = find_broker_problem(settings) if settings.broker_url else ""
    if refused := refused or find_storage_problem(settings):
        output.fail(refused)


def _require_tables(settings: Settings) -> None:
    with output.connected(settings):
        if schema.pending_migrations():
            output.fail("The database lacks tables of this version: run `dredge init`, then `dredge check`")


@contextlib.contextmanager
def _written(path: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Keep the variables in a file while the system runs, for use in other terminals."""
    if not environment:
        yield
        return
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    path.write_text("\n".join(lines) + "\n")
    click.echo(f"Embedded servers; in another terminal: . {path}", err=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _procfile_text(given: Path | None) -> str:
    path = given or Path("Procfile")
    return path.read_text() if path.exists() else PROCFILE


def _environment(settings: Settings, servers: EmbeddedServers) -> dict[str, str]:
    """Return the variables of the embedded servers that replace unset ones."""
    made = servers.environment()
    if settings.cache_url:
        made.pop("DREDGE_CACHE_URL", None)
    return made


class _Processes:
    """Signals only the main process to stop: a worker ends its children when their tasks are done."""

    def terminate(self, pid: int) -> None:
        _signal(os.kill, pid, signal.SIGTERM)

    def kill(self, pid: int) -> None:
        _signal(os.killpg, pid, signal.SIGKILL)


def _signal(send: Any, pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        send(pid, number)


def _spawn(command_line: str, **options: Any) -> Any:
    """Start a process that ends when this program ends, even after kill -9."""
    child = honcho.process.Popen(command_line, **options)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            wait([parent.sentinel])
            _Processes().terminate(child.pid)

        threading.Thread(target=follow, daemon=True).start()
    return child


def _end_all(entries: Iterable[dict[str, Any]]) -> None:
    """Stop processes that are still running: the loop ends early if its output is closed."""
    left = [entry for entry in entries if "pid" in entry and "returncode" not in entry]
    for entry in left:
        _Processes().terminate(entry["pid"])
    for entry in left:
        entry["process"].join(STOP_S)
        _Processes().kill(entry["pid"])
        entry["process"].kill()


def _run(processes: dict[str, str], environment: dict[str, str]) -> int:
    """Run all processes until one ends or a signal arrives.  Returns the exit code, 0 after a signal."""
    honcho.manager.KILL_WAIT = STOP_S
    manager = honcho.manager.Manager()
    manager._procmgr = _Processes()
    for name, line in processes.items():
        process = manager.add_process(name, line, env=environment)
        process._child_ctor = _spawn
    try:
        manager.loop()
    finally:
        _end_all(manager._processes.values())
    return 0 if manager.returncode in (130, 143) else int(manager.returncode or 0)
