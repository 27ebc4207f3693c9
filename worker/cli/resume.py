"""`dredge resume`."""

from __future__ import annotations

import click

from model.controls.holds import lift_hold, list_holds
from worker.cli import options, output, repositories
from worker.jobs.targets import find_target


@click.command(name="resume")
@click.argument("target", metavar="[NAMESPACE[/REPO]]", required=False, type=repositories.REPOSITORY)
@options.json_object
def command(target: str | None, as_json: bool) -> None:
    """Lift a hold: collections go on with the next scan.

    Lifts the hold that was set for exactly this target; `dredge status` lists all holds.
    """
    with output.connected(output.settings()):
        found = find_target(target)
        lifted = lift_hold(namespace_id=found.namespace_id, repository_id=found.repository_id)
        others = [hold.target for hold in list_holds()]
    if not lifted:
        known = f"; on hold: {', '.join(others)}" if others else ""
        output.fail(f"{found.name} is not on hold{known}")
    if as_json:
        output.emit_json({"target": found.name, "holds": others})
    else:
        click.echo(f"{found.name} is no longer on hold" + (f"; still: {', '.join(others)}" if others else ""))
