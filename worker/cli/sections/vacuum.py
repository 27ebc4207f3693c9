"""Tables that vacuum does not keep up with, and indexes that are far larger than needed."""

from __future__ import annotations

from dataclasses import asdict

from worker.cli import tables
from worker.cli.sections.section import Section, Table
from worker.cli.times import when
from worker.jobs.overview import Overview


def read(overview: Overview) -> Section:
    """Return all tables and indexes for machines, and for people those that need maintenance, and why."""
    return Section(
        facts={
            "tables": [asdict(each) for each in overview.tables],
            "indexes": [asdict(each) for each in overview.indexes],
        },
        tables=(_behind(overview), _bloated(overview)),
    )


def _behind(overview: Overview) -> Table:
    behind = [each for each in overview.tables if each.falls_behind]
    off = any(not each.is_automatic for each in behind)
    return Table(
        ("table behind on vacuum", "dead rows", "rows", "size", "last vacuum"),
        [
            (
                each.table,
                each.dead_rows,
                each.live_rows,
                tables.human_bytes(each.bytes),
                when(each.vacuumed_ms) or "never",
            )
            for each in behind
        ],
        note="VACUUM is due: more rows are dead than alive. "
        + (
            "Autovacuum is off."
            if off
            else "A transaction that stays open, or autovacuum's limits, keep dead rows."
        ),
    )


def _bloated(overview: Overview) -> Table:
    return Table(
        ("index larger than needed", "size", "size if new", "rows"),
        [
            (each.index, tables.human_bytes(each.bytes), tables.human_bytes(each.bytes_if_new), each.rows)
            for each in overview.indexes
            if each.is_bloated
        ],
        note="REINDEX INDEX CONCURRENTLY is due: most entries are gone. New ones use the free pages again.",
    )
