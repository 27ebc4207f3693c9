"""When and how fast anything is removed: the window, the fleet's limits, and the database's health."""

from __future__ import annotations

from dataclasses import asdict

from model.human import counted
from worker.cli import tables
from worker.cli.sections.section import Section, Table
from worker.cli.times import when
from worker.jobs.overview import Overview


def read(overview: Overview) -> Section:
    """Return the window, what is waited for, and how the database fares."""
    window, health = overview.window, overview.health
    return Section(
        facts={
            "window": asdict(window),
            "limits": [asdict(limit) for limit in overview.limits],
            "database": asdict(health),
        },
        tables=(
            Table(
                ("window", "state", "until"),
                [(window.text, "open" if window.is_open else "closed", when(window.changes_ms) or "-")]
                if window.text
                else [],
                note="" if window.is_open else "Nothing is removed until the window opens.",
            ),
            Table(
                ("limit", "workers wait for"),
                [(limit.name, tables.human_ms(limit.wait_ms)) for limit in overview.limits if limit.wait_ms],
                note=f"A standby is at most {tables.human_ms(health.lag_ms)} behind,"
                f" and {counted(health.active_sessions, 'other session')} active.",
            ),
        ),
    )
