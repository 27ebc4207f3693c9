"""`dredge inuse`."""

from __future__ import annotations

from dataclasses import replace

import click

from model.human import counted
from model.in_use import count_in_use, read_age_ms
from worker.cli import options, output, tables
from worker.jobs.in_use import load_in_use


@click.group(name="inuse")
def command() -> None:
    """Manage the list of digests in use, which are never expired or collected."""


@command.command(short_help="Load the list now.")
@click.option("--source", help="A path, a URL or kubernetes; by default DREDGE_IN_USE_SOURCE.")
@options.json_object
def load(source: str | None, as_json: bool) -> None:
    """Load the list of digests in use now; if the source fails, the previous list stays."""
    settings = output.settings()
    settings = replace(settings, in_use_source=source or settings.in_use_source)
    output.require(settings, "in_use_source")
    with output.connected(settings):
        digests = load_in_use(settings)
    output.say(as_json, {"digests": digests}, f"{counted(digests, 'digest')} in use")


@command.command(short_help="Show the age and the length of the list.")
@options.json_object
def status(as_json: bool) -> None:
    """Show how old the list is; exit 1 if it is so old that it stops expiry."""
    settings = output.settings()
    with output.connected(settings):
        age_ms, digests = read_age_ms(), count_in_use()
    stale = bool(settings.in_use_source) and (age_ms is None or age_ms > settings.in_use_max_age_s * 1000)
    if as_json:
        output.emit_json({"digests": digests, "age_ms": age_ms, "stale": stale})
    else:
        loaded = "never loaded" if age_ms is None else f"loaded {tables.human_ms(age_ms)} ago"
        click.echo(f"{counted(digests, 'digest')} in use, {loaded}")
    if stale:
        output.fail("the list of digests in use is stale, and no tag is ended by a rule: dredge inuse load")
