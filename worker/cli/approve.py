"""`dredge approve`."""

from __future__ import annotations

import click

from model.controls.breaker import approve, list_open
from worker.cli import options, output
from worker.cli.pause import author
from worker.jobs.targets import find_target


@click.command(name="approve")
@click.argument("namespace", required=False)
@options.json_object
def command(namespace: str | None, as_json: bool) -> None:
    """Close the open breaker of a NAMESPACE, or without one the registry's, so that its collection goes on.

    A breaker opens if more than DREDGE_BREAKER_SHARE percent of the manifests become due within an hour,
    or if a recovery window was shortened.  The registry's
    counts purges, too, and stops them.  Look at `dredge status` and `dredge plan` first: tags and
    manifests that are collected then cannot be restored.
    """
    if namespace is not None and "/" in namespace:
        raise click.UsageError("give a namespace, not a repository")
    with output.connected(output.settings()):
        found = find_target(namespace)
        closed = approve(found.namespace_id, author=author())
        others = [breaker.namespace for breaker in list_open()]
    still = f"; open: {', '.join(others)}" if others else ""
    if not closed:
        output.fail(f"the breaker of {found.name} is not open{still}")
    if as_json:
        output.emit_json({"namespace": found.name, "open": others})
    else:
        click.echo(f"approved: removals of {found.name} go on{still}")
