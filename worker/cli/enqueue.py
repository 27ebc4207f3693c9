"""`dredge enqueue`: have the workers collect."""

from __future__ import annotations

import click

from model.names import parse_repository
from worker import wiring
from worker.app import application
from worker.cli import output
from worker.client import Client
from worker.jobs.plan import all_due
from worker.settings import Settings


@click.command("enqueue")
@click.argument("repositories", metavar="[REPO]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every repository with garbage.")
@click.option("--wait", type=float, metavar="SECONDS", help="Wait so long for the outcome of each REPO.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(repositories: tuple[str, ...], everything: bool, wait: float | None, as_json: bool) -> None:
    """Collect through the workers: one task for each REPO, or for every one with garbage.

    Without --wait it is only asked for; `dredge status` shows what is left to do.
    """
    if bool(repositories) == everything:
        raise click.UsageError("Name repositories, or give --all")
    settings = output.settings()
    output.require(settings, "broker_url")
    names = [str(parse_repository(name)) for name in repositories]
    sent = _everything(settings) if everything else _named(settings, names, wait)
    if as_json:
        output.emit_json({"repositories": sent})
    else:
        click.echo(f"{sent} {'repository' if sent == 1 else 'repositories'} enqueued")


def _named(settings: Settings, names: list[str], wait_s: float | None) -> int:
    with Client(settings.broker_url, key_prefix=settings.key_prefix) as client:
        results = [client.collect(name) for name in names]
        for result in results if wait_s else ():
            result.get(timeout=wait_s)
    return len(results)


def _everything(settings: Settings) -> int:
    """Every repository with garbage, in the order of the periodic scan; one that waits is skipped."""
    with output.connected(settings):
        return wiring.queue(application, settings).collect(all_due(settings.policy))
