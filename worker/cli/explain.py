"""`dredge explain`."""

from __future__ import annotations

from dataclasses import asdict

import click

from worker.cli import output
from worker.jobs.explain import explain_any


@click.command(name="explain")
@click.argument("what", metavar="REPO[:TAG|@DIGEST]|DIGEST|PATH")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(what: str, as_json: bool) -> None:
    """Say why something is still there, or when it will go.

    That is a repository (namespace/name), a tag of it, a manifest or blob by its digest (of one repository,
    or wherever it is), or an object by its path in storage. Of a tag it also says what each retention rule
    does with it.
    """
    settings = output.settings()
    with output.connected(settings):
        found = explain_any(what, settings)
    for explained in found:
        if as_json:
            output.emit_json(asdict(explained))
            continue
        click.echo(f"{explained.kind} {explained.subject} {'is kept' if explained.kept else 'will go'}:")
        for reason in explained.reasons:
            click.echo(f"  {reason}")
