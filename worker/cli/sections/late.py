"""Periodic tasks that are late."""

from __future__ import annotations

from dataclasses import asdict

from worker.cli import tables
from worker.cli.sections.section import Section, Table
from worker.cli.times import when
from worker.jobs.overview import Overview


def read(overview: Overview) -> Section:
    """Return all periodic tasks for machines, and for people those that are late."""
    return Section(
        facts={"periodic": [asdict(each) for each in overview.periodic]},
        tables=(
            Table(
                ("late task", "every", "last ended", "waits for"),
                [
                    (
                        each.name,
                        tables.human_ms(each.interval_ms),
                        when(each.ended_ms) or "never",
                        tables.human_ms(each.age_ms),
                    )
                    for each in overview.periodic
                    if each.is_late
                ],
                note="Start a beat and a worker; if both run, the workers' log says why the task fails.",
            ),
        ),
    )
