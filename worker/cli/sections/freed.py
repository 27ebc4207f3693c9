"""What was freed lately, by namespace."""

from __future__ import annotations

from dataclasses import asdict

from model.human import counted
from worker.cli import tables
from worker.cli.sections.section import Section, Table
from worker.jobs.overview import Overview


def read(overview: Overview) -> Section:
    """Return the namespaces that most was freed for."""
    return Section(
        facts={"freed": [asdict(each) for each in overview.freed]},
        tables=(
            Table(
                ("namespace", "tags", "manifests", "blobs", "objects", "freed"),
                [
                    (f.namespace, f.tags, f.manifests, f.blobs, f.objects, tables.human_bytes(f.bytes or 0))
                    for f in overview.freed
                ],
                title=f"Freed in the last {counted(overview.hours, 'hour')}",
            ),
        ),
    )
