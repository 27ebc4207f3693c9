"""`dredge scan`."""

from __future__ import annotations

import click

from model import repository
from model.db.clock import now_ms
from model.gc.find import Due, rank
from worker.cli import output, tables
from worker.jobs.find import find_due
from worker.jobs.plan import SLICE


@click.command(name="scan")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="Maximum rows.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(limit: int, as_json: bool) -> None:
    """List repositories with garbage, longest waiting first, namespaces taking turns.

    Looks at the whole registry and changes nothing.
    """
    settings = output.settings()
    with output.connected(settings):
        found: list[Due] = []
        position = 0
        with output.progress("looking") as advance:
            while True:
                part, position, looked = find_due(
                    settings.policy, after=position, slice=SLICE, limit=max(limit, SLICE)
                )
                found = rank([*found, *part], limit=limit)
                advance(looked)
                if not position:
                    break
        names = repository.by_ids(due.repository_id for due in found)
        moment = now_ms()
    rows = [
        (names[due.repository_id].path, due.due_ms, moment - due.due_ms)
        for due in found
        if due.repository_id in names
    ]
    if as_json:
        for path, due_ms, waiting_ms in rows:
            output.emit_json({"repository": path, "due_ms": due_ms, "waiting_ms": waiting_ms})
    else:
        tables.table(("repository", "waiting"), [(path, tables.human_ms(ms)) for path, _, ms in rows])
        click.echo(f"{len(rows)} repositories with garbage" + (" or more" if len(rows) == limit else ""))
