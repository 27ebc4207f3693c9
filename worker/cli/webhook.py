"""`dredge webhook`."""

from __future__ import annotations

from dataclasses import asdict

import click

from model.events.deliveries import retry_dead
from model.events.webhooks import add_webhook, list_webhooks, remove_webhook
from worker.cli import output, tables
from worker.events.webhook import secret_of

_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group(name="webhook")
def command() -> None:
    """Send events to HTTP endpoints, signed."""


@command.command(short_help="Send events to an endpoint from now on.")
@click.argument("name")
@click.argument("url")
@click.option(
    "--type", "types", multiple=True, metavar="PATTERN", help="Events it wants: 'tag.*', breaker.opened, '*'."
)
@_json
def add(name: str, url: str, types: tuple[str, ...], as_json: bool) -> None:
    """Add the webhook NAME, or change it, and print the secret that its requests are signed with.

    Without --type it receives events of collected, erased and purged data, open breakers, suspended
    locations, and tags that will end.
    """
    settings = output.settings()
    output.require(settings, "webhook_key")
    with output.connected(settings):
        wanted = add_webhook(name, url, types)
    secret = secret_of(settings.webhook_key, name)
    if as_json:
        output.emit_json({"name": name, "url": url, "types": wanted, "secret": secret})
    else:
        click.echo(f"{name} gets {', '.join(wanted)}\nsecret: {secret}")


@command.command(name="list", short_help="The webhooks, and what they are owed.")
@_json
def list_(as_json: bool) -> None:
    """List the webhooks with the number of deliveries that wait and that were given up."""
    with output.connected(output.settings()):
        found = list_webhooks()
    if as_json:
        for each in found:
            output.emit_json(asdict(each))
    else:
        rows = [(each.name, each.url, " ".join(each.types), each.waiting, each.dead) for each in found]
        tables.table(("webhook", "address", "types", "waiting", "given up"), rows)


@command.command(short_help="Send nothing there any more.")
@click.argument("name")
@_json
def remove(name: str, as_json: bool) -> None:
    """Remove the webhook NAME, and its waiting deliveries."""
    with output.connected(output.settings()):
        if not remove_webhook(name):
            output.fail(f"there is no webhook {name}; see dredge webhook list")
    if as_json:
        output.emit_json({"name": name})
    else:
        click.echo(f"removed {name}")


@command.command(short_help="Try again what was given up.")
@click.argument("name", required=False)
@_json
def retry(name: str | None, as_json: bool) -> None:
    """Retry the deliveries that were given up, of all webhooks or of NAME."""
    with output.connected(output.settings()):
        count = retry_dead(name)
    if as_json:
        output.emit_json({"deliveries": count})
    else:
        click.echo(f"{count:,} deliveries are tried again")
