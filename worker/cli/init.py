"""`dredge init`: the tables, and the optional trigger."""

from __future__ import annotations

import click

from model.db import schema
from model.events import trigger as triggers
from worker.cli import output
from worker.storage.base import prepare_stores


@click.command("init")
@click.option(
    "--triggers/--no-triggers",
    "with_triggers",
    default=None,
    help="Add or remove the trigger that records every ended tag as an event, also those that Quay ends.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(with_triggers: bool | None, as_json: bool) -> None:
    """Create missing tables, and missing directories of local storage.

    On an empty database: a whole registry's tables.  On a Quay's: only dredge_* beside them, and no
    other table is touched.  Idempotent.
    """
    settings = output.settings()
    with output.connected(settings):
        prepare_stores(settings.storage)
        prepared = schema.create()
        if with_triggers is not None:
            _set_triggers(with_triggers)
    if as_json:
        output.emit_json(
            {
                "found": prepared.found,
                "tables": list(prepared.tables),
                "lookup_rows": prepared.lookup_rows,
                "migrations": list(prepared.migrations),
                "triggers": with_triggers,
            }
        )
        return
    found = {"empty": "an empty database", "registry": "a registry's database"}[prepared.found]
    click.echo(f"Found {found}.")
    if prepared:
        click.echo(f"Created {len(prepared.tables)} tables and {prepared.lookup_rows} lookup rows.")
        click.echo(f"Applied {', '.join(prepared.migrations) or 'no migration'}.")
    else:
        click.echo("Nothing to create.")
    if with_triggers is not None:
        click.echo("The trigger on tags is installed." if with_triggers else "There is no trigger on tags.")


def _set_triggers(wanted: bool) -> None:
    if wanted:
        triggers.install_triggers()
    else:
        triggers.remove_triggers()
