"""`dredge history`."""

from __future__ import annotations

from dataclasses import asdict

import click

from model.gc.inspect.status import Step, read_history
from worker.cli import options, output, repositories, tables
from worker.cli.times import when


@click.command(name="history")
@click.argument("repository", required=False, type=repositories.REPOSITORY)
@options.limit(50)
@options.json_lines
def command(repository: str | None, limit: int, as_json: bool) -> None:
    """List what past collections of one repository (namespace/name), or of all, freed; newest first."""
    settings = output.settings()
    with output.connected(settings):
        repository_id = repositories.find([repository])[0].id if repository else None
        steps = read_history(repository_id=repository_id, limit=limit)
    if as_json:
        for step in steps:
            output.emit_json(asdict(step))
    else:
        tables.table(
            ("when", "stage", "repository", "took", "tags", "manifests", "blobs", "objects", "rows", "bytes"),
            [_row(step) for step in steps],
        )


def _row(step: Step) -> tuple[object, ...]:
    took = tables.human_ms(step.finished_ms - step.started_ms)
    freed = tables.human_bytes(step.bytes)
    return (
        when(step.started_ms),
        step.stage,
        step.repository,
        took,
        step.tags,
        step.manifests,
        step.blobs,
        step.objects,
        step.rows,
        freed,
    )
