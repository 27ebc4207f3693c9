"""`dredge demo`."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from honcho.environ import parse_procfile

from model.db import connection as database
from model.db.clock import now_ms
from model.gc.inspect.status import Totals, read_freed, read_totals
from worker import wiring
from worker.cli import output, tables
from worker.cli.embedded import command_environment, create_tables
from worker.cli.up import PROCFILE
from worker.fsck.run import Report
from worker.local.demo.processes import Processes
from worker.local.demo.run import Demo, as_json
from worker.local.demo.verify import DemoResult
from worker.local.embedded import EmbeddedServers
from worker.local.sample.shape import registry
from worker.settings import Settings

CHOICES = {
    "DREDGE_REFERRERS": "cascade",
    "DREDGE_SCAN_INTERVAL_S": "1",
    "DREDGE_QUARANTINE_S": "0",
    # The demonstration's registry is mostly garbage, and most of it becomes due at once.
    "DREDGE_BREAKER_SHARE": "0",
    "DREDGE_LOG_LEVEL": "info",
}


@click.command(name="demo")
@click.option(
    "--manifests",
    default=2000,
    show_default=True,
    type=click.IntRange(100, 1_000_000),
    help="Manifests in the sample.",
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Random seed.")
@click.option("--kill", is_flag=True, help="kill -9 the worker half-way and start another.")
@click.option("--json", "as_line", is_flag=True, help="Print one JSON object on the last line.")
def command(manifests: int, seed: int, kill: bool, as_line: bool) -> None:
    """Demonstrate the whole system: fill a registry, collect it with real workers, verify the result.

    Starts embedded servers, writes a sample registry and real images made from files of this machine,
    deletes tags from another process, and runs a worker and a beat.  Then reads, hashes and exports every
    surviving image, and checks every invariant.  Exit 1 if something in use is missing or garbage is left.
    Removes all its files at the end.
    """
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="dredge-demo-") as name,
        _servers(Path(name)) as environment,
    ):
        directory = Path(name)
        settings = Settings.from_env({k: v for k, v in environment.items() if k.startswith("DREDGE_")})
        database.configure(settings.database_url)
        began_ms = now_ms()
        demo = Demo(wiring.in_process(settings), environment, directory, _stage)
        demo.fill(dataclasses.replace(registry(manifests), seed=seed, objects="small"))
        expected = demo.delete_tags()
        with Processes(parse_procfile(PROCFILE).processes, environment, directory) as processes:
            demo.collect(processes, kill=kill)
        verdict, report = demo.verify(expected)
        exported = demo.export()
        freed = read_totals(since_ms=began_ms)
        _print(verdict, report, freed, exported, began_ms)
        database.db.close_all()
    seconds = time.monotonic() - started
    if as_line:
        click.echo(as_json(verdict, report, freed, seconds))
    else:
        click.echo(f"done in {seconds:.0f} s")
    sys.exit(1 if verdict.live_missing or verdict.garbage_left or not report else 0)


@contextmanager
def _servers(directory: Path) -> Iterator[dict[str, str]]:
    """Start fresh servers with all tables.  Yields the environment for the demonstration's processes."""
    with _stage("starting PostgreSQL and Valkey"):
        servers = EmbeddedServers(directory / "servers").start()
    try:
        create_tables(servers.database_url)
        yield command_environment({**servers.environment(), **CHOICES})
    finally:
        servers.stop()


@contextmanager
def _stage(title: str, total: int | None = None) -> Iterator[Callable[..., Any]]:
    """Show a progress bar during a step, and a line after it."""
    began = time.monotonic()
    with output.progress(title, total) as advance:
        yield advance
    click.echo(f"{title}: {time.monotonic() - began:.1f} s", err=True)


def _print(verdict: DemoResult, report: Report, freed: Totals, exported: int, began_ms: int) -> None:
    rows = read_freed(since_ms=began_ms, limit=10)
    tables.table(
        ("namespace", "tags", "manifests", "blobs", "bytes"),
        [
            (r.namespace, r.tags, r.manifests, r.blobs, tables.human_bytes(r.bytes or 0))
            for r in rows
            if r.tags
        ],
        title="Freed, the first ten namespaces",
    )
    tables.table(
        ("freed", ""),
        [
            ("repositories collected", freed.repositories),
            ("tags", freed.tags),
            ("manifests", freed.manifests),
            ("blobs", freed.blobs),
            ("objects erased", freed.objects),
            ("bytes erased", freed.bytes),
        ],
    )
    tables.table(
        ("verified", ""),
        [
            ("manifests in use, all there", verdict.live_manifests),
            ("objects in use, read and hashed", verdict.live_objects),
            ("images exported", exported),
            ("in use but missing", verdict.live_missing),
            ("garbage left", verdict.garbage_left),
            ("invariants violated", sum(finding.count for finding in report.violations)),
        ],
    )
    for finding in report.violations:
        click.echo(f"{finding.name}: {finding.what}: {'; '.join(finding.examples)}", err=True)
