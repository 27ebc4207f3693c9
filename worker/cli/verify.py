"""`dredge verify`."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict

import click

from model.db.connection import translated
from model.human import counted
from model.verify import Verifier, open_snapshot
from worker.cli import options, output

SHOWN = 20


@click.command(name="verify")
@options.json_object
def command(as_json: bool) -> None:
    """Verify the certificates of all deletions against the database.  Only reads; exit 1 if one is false.

    You can run it at any time beside a running system.
    """
    settings = output.settings()
    output.require(settings, "database_url")
    with translated(), closing(open_snapshot(settings.database_url)) as connection:
        verdict = Verifier(connection).run()
    if as_json:
        output.emit_json(asdict(verdict))
    else:
        for problem in verdict.problems[:SHOWN]:
            click.echo(problem)
        if len(verdict.problems) > SHOWN:
            click.echo(f"and {len(verdict.problems) - SHOWN:,} more: dredge verify --json shows all")
        click.echo(
            f"{counted(verdict.certificates, 'certificate')} of {counted(verdict.manifests, 'manifest')} and"
            f" {counted(verdict.blobs, 'blob')}: {'all are true' if verdict else 'some are false'}"
        )
    sys.exit(0 if verdict else 1)
