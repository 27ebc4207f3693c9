"""`dredge webhook`."""

from __future__ import annotations

from dataclasses import asdict
from urllib.parse import urlsplit

import click

from model.errors import RegistryError
from model.events.deliveries import retry_dead
from model.events.webhooks import add_webhook, list_webhooks, remove_webhook
from model.human import counted
from worker.cli import options, output, tables
from worker.cli.errors import say_problem
from worker.events.webhook import secret_of
from worker.spelling import did_you_mean, nearest

_NO_NETWORKS = "plain HTTP goes only to addresses in DREDGE_WEBHOOK_NETWORKS, which is not set here"


class NoSuchWebhook(RegistryError):
    """There is no such webhook."""


@click.group(name="webhook")
def command() -> None:
    """Send events to HTTP endpoints, signed."""


@command.command(short_help="Add or change a webhook.")
@click.argument("name")
@click.argument("url")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="PATTERN",
    help="Event types to send: 'tag.*', breaker.opened, '*'.",
)
@options.json_lines
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
    if urlsplit(url).scheme == "http" and not settings.webhook_networks:
        say_problem(_NO_NETWORKS, as_json=as_json)


@command.command(name="list", short_help="List webhooks and their waiting deliveries.")
@options.json_lines
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


@command.command(short_help="Remove a webhook.")
@click.argument("name")
@options.json_lines
def remove(name: str, as_json: bool) -> None:
    """Remove the webhook NAME, and its waiting deliveries."""
    with output.connected(output.settings()):
        if not remove_webhook(name):
            raise _missing(name)
    if as_json:
        output.emit_json({"name": name})
    else:
        click.echo(f"removed {name}")


def _names() -> list[str]:
    return [each.name for each in list_webhooks()]


def _missing(name: str) -> NoSuchWebhook:
    advice = did_you_mean(nearest(name, _names()), otherwise=": see dredge webhook list")
    return NoSuchWebhook(f"There is no webhook {name}{advice}")


@command.command(short_help="Retry deliveries that were given up.")
@click.argument("name", required=False)
@options.json_lines
def retry(name: str | None, as_json: bool) -> None:
    """Retry the deliveries that were given up, of all webhooks or of NAME."""
    with output.connected(output.settings()):
        if name is not None and name not in _names():
            raise _missing(name)
        count = retry_dead(name)
    if as_json:
        output.emit_json({"deliveries": count})
    else:
        click.echo(f"{counted(count, 'delivery')} will be tried again")
