"""`dredge retry`."""

from __future__ import annotations

import click

from model.gc.poison import STAGES, retry
from worker.cli import options, output
from worker.spelling import did_you_mean, nearest


@click.command(name="retry")
@click.argument("stage", required=False, default="", metavar="[STAGE]")
@click.argument("key", required=False, default="")
@options.json_object
def command(stage: str, key: str, as_json: bool) -> None:
    """Retry failed work now instead of at its next try; workers start it within seconds.

    Without a stage, all are retried: collect, review, relay, consumer, reports, erase, quarantine, sweep,
    purge. KEY is one item that review, relay, consumer or sweep has set aside, as `dredge status` names it.
    """
    if stage and stage not in STAGES:
        advice = did_you_mean(nearest(stage, STAGES), otherwise=f": write one of {', '.join(STAGES)}")
        raise click.UsageError(f"There is no stage {stage}{advice}")
    with output.connected(output.settings()):
        done = retry(stage, key)
    if as_json:
        output.emit_json({"due": done})
    else:
        click.echo(f"{done:,} will be retried now.")
