"""`dredge pause`."""

from __future__ import annotations

import getpass
import socket

import click

from model.controls.holds import set_hold
from model.db.clock import now_ms
from worker.cli import options, output, repositories
from worker.cli.times import parse_until_ms, when
from worker.jobs.targets import find_target


@click.command(name="pause")
@click.argument("target", metavar="[NAMESPACE[/REPO]]", required=False, type=repositories.REPOSITORY)
@click.option("--reason", required=True, help="Reason, shown with the hold.")
@click.option("--until", metavar="TIME", help="When the hold ends: 12h, 3d, or an ISO 8601 time.")
@options.json_object
def command(target: str | None, reason: str, until: str | None, as_json: bool) -> None:
    """Hold the registry, a namespace or a repository: nothing is removed there.

    Every worker and every command stops before its next batch, and goes on after `dredge resume`.
    Tags can still be pushed, deleted and restored.  A second pause replaces the first.
    """
    with output.connected(output.settings()):
        moment = now_ms()
        until_ms = None if until is None else parse_until_ms(until, now_ms=moment)
        if until_ms is not None and until_ms <= moment:
            raise click.UsageError(f"--until {until} has passed")
        found = find_target(target)
        set_hold(
            namespace_id=found.namespace_id,
            repository_id=found.repository_id,
            reason=reason,
            author=author(),
            until_ms=until_ms,
        )
    if as_json:
        output.emit_json({"target": found.name, "reason": reason, "until_ms": until_ms})
    else:
        click.echo(f"{found.name} is on hold" + (f" until {when(until_ms)}" if until_ms else ""))


def author() -> str:
    """Return the user who runs this command, to be shown with the hold."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
