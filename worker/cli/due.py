"""`dredge due`, also called `dredge scan`."""

from __future__ import annotations

from dataclasses import asdict

import click

from model.human import counted
from worker.cli import options, output, tables
from worker.cli.times import parse_duration_ms, when
from worker.jobs.waiting import WaitingRepository, list_waiting


@click.command(name="due")
@options.limit(50)
@click.option("--within", metavar="90m|12h|3d", help="Also list what becomes due within this time.")
@options.json_lines
def command(limit: int, within: str | None, as_json: bool) -> None:
    """List repositories that are due: since when, the next try, and why each waits.

    The longest waiting comes first, alternating namespaces. Reads the whole registry and changes nothing.
    """
    settings = output.settings()
    within_ms = parse_duration_ms(within) if within else 0
    with output.connected(settings):
        found, has_more = list_waiting(
            settings.policy, share=settings.namespace_share, limit=limit, within_ms=within_ms
        )
    if as_json:
        for each in found:
            output.emit_json(asdict(each))
        return
    tables.table(("repository", "due since", "waiting", "next try", "why"), [_row(each) for each in found])
    click.echo(f"due: {counted(len(found), 'repository')}" + (" or more" if has_more else ""))


def _row(each: WaitingRepository) -> tuple[object, ...]:
    waiting = tables.human_ms(each.waiting_ms) if each.waiting_ms >= 0 else ""
    return (each.repository, when(each.due_ms), waiting, when(each.next_try_ms), each.why)
