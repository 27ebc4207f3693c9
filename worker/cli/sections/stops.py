"""What stops collections and erasing: open breakers, holds, and suspended locations."""

from __future__ import annotations

from dataclasses import asdict

from worker.cli.sections.section import Section, Table
from worker.cli.times import when
from worker.jobs.overview import Overview


def read(overview: Overview) -> Section:
    """Return the open breakers, the holds in force, and the suspended locations."""
    breakers, holds = overview.breakers, overview.holds
    return Section(
        facts={
            "holds": [asdict(hold) for hold in holds],
            "breakers": [asdict(each) for each in breakers],
            "suspended": [asdict(each) for each in overview.suspended],
        },
        tables=(
            Table(
                ("breaker open", "since", "reason"),
                [(each.namespace, when(each.opened_ms), each.reason) for each in breakers],
                note="Nothing is removed there until `dredge approve`.",
            ),
            Table(
                ("on hold", "until", "by", "reason"),
                [(each.target, when(each.until_ms) or "resumed", each.author, each.reason) for each in holds],
            ),
            Table(
                ("suspended location", "since", "reason"),
                [(each.location, when(each.problem_since_ms), each.problem) for each in overview.suspended],
                note="Nothing is erased there until the right store is back.",
            ),
        ),
    )
