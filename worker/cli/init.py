"""`dredge init`: create the tables, and the optional trigger."""

from __future__ import annotations

import click

from model.db import schema
from model.events import trigger as triggers
from model.human import counted
from worker.cli import options, output
from worker.jobs.storage_identity import verify_location
from worker.jobs.storage_settings import find_aliases
from worker.storage.open import open_stores, prepare_stores


@click.command("init")
@click.option(
    "--triggers/--no-triggers",
    "with_triggers",
    default=None,
    help="Add or remove the trigger that records every ended tag as an event, also those that Quay ends.",
)
@click.option(
    "--notify/--no-notify",
    default=True,
    help="Whether the trigger wakes the relay; commits with NOTIFY wait for each other.",
)
@click.option("--yes", is_flag=True, help="Create tables beside those of another application.")
@options.json_object
def command(with_triggers: bool | None, notify: bool, yes: bool, as_json: bool) -> None:
    """Create missing tables, and missing directories of local storage.

    In an empty database it creates all tables of a registry; in a Quay's database only tables dredge_*, and
    changes no other table.  It also writes an identity to each storage location, unless the location has none
    of the objects that the rows reference.  Idempotent.
    """
    settings = output.settings()
    with output.connected(settings):
        prepare_stores(settings.storage)
        prepared = schema.create(beside_others=yes)
        if with_triggers is not None:
            _set_triggers(with_triggers, notify)
        stores = open_stores(settings.storage, upload=settings.upload_location)
        problems = {name: verify_location(stores, name) for name in stores}
        aliases = find_aliases(stores)
    if as_json:
        output.emit_json(
            {
                "found": prepared.found,
                "tables": list(prepared.tables),
                "lookup_rows": prepared.lookup_rows,
                "migrations": list(prepared.migrations),
                "triggers": with_triggers,
                "storage": problems,
                "aliases": [list(names) for names in aliases],
            }
        )
        return
    _say_prepared(prepared)
    if with_triggers is not None:
        click.echo("The trigger on tags is installed." if with_triggers else "There is no trigger on tags.")
    _say_storage(problems, aliases)


def _say_prepared(prepared: schema.Prepared) -> None:
    found = {"empty": "an empty database", "registry": "a registry's database"}[prepared.found]
    click.echo(f"Found {found}.")
    if not prepared:
        click.echo("Nothing to create.")
        return
    tables, rows = counted(len(prepared.tables), "table"), counted(prepared.lookup_rows, "lookup row")
    click.echo(f"Created {tables} and {rows}.")
    click.echo(f"Applied {', '.join(prepared.migrations) or 'no migration'}.")


def _say_storage(problems: dict[str, str], aliases: list[tuple[str, ...]]) -> None:
    for name, problem in problems.items():
        click.echo(
            f"{name} is suspended: {problem}"
            if problem
            else f"{name} is verified: it holds the objects of the registry."
        )
    for names in aliases:
        click.echo(f"{', '.join(names)} name the same store.")


def _set_triggers(wanted: bool, notify: bool) -> None:
    if wanted:
        triggers.install_triggers(notify=notify)
    else:
        triggers.remove_triggers()
