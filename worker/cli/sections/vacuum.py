"""Tables that vacuum does not keep up with."""

from __future__ import annotations

from dataclasses import asdict

from worker.cli import tables
from worker.cli.sections.section import Section, Table
from worker.cli.times import when
from worker.jobs.overview import Overview


def read(overview: Overview) -> Section:
    """Return all tables for machines, and for people those with more dead rows than living ones."""
    return Section(
        facts={"tables": [asdict(each) for each in overview.tables]},
        tables=(
            Table(
                ("table behind on vacuum", "dead rows", "rows", "size", "last vacuum"),
                [
                    (
                        each.table,
                        each.dead_rows,
                        each.live_rows,
                        tables.human_bytes(each.bytes),
                        when(each.vacuumed_ms) or "never",
                    )
                    for each in overview.tables
                    if each.falls_behind
                ],
                note="A transaction that stays open, or autovacuum's limits, keep dead rows.",
            ),
        ),
    )
