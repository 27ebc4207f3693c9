"""`dredge explain`."""

from __future__ import annotations

from dataclasses import asdict

import click

from model.gc.inspect.explain import explain
from model.names import parse_manifest
from worker.cli import output, repositories


@click.command(name="explain")
@click.argument("manifest", metavar="REPO@DIGEST")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(manifest: str, as_json: bool) -> None:
    """Say why a manifest or blob is still there, or when it will go."""
    settings = output.settings()
    name = parse_manifest(manifest)
    with output.connected(settings):
        repository = repositories.find([str(name.repository)])[0]
        found = explain(repository.id, name.digest, policy=settings.policy)
    if found is None:
        output.fail(f"nothing here has the digest {name.digest}")
    if as_json:
        output.emit_json(asdict(found))
        return
    click.echo(f"{found.kind} {found.digest} {'is kept' if found.kept else 'will go'}:")
    for reason in found.reasons:
        click.echo(f"  {reason}")
