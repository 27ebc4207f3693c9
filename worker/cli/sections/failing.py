"""What fails, with the reason and the next try: repositories, and items that a shared stage set aside."""

from __future__ import annotations

from dataclasses import asdict

from model.gc.inspect.troubles import Trouble
from worker.cli import tables
from worker.cli.sections.section import Section, Table
from worker.jobs.overview import Overview


def read(overview: Overview) -> Section:
    """Return the repositories that fail and what is set aside, worst first."""
    return Section(
        facts={
            "failures": [asdict(each) for each in overview.failures],
            "troubles": [asdict(each) for each in overview.troubles],
            "set_aside": [asdict(each) for each in overview.poison],
        },
        tables=(
            Table(
                ("repository", "failures", "next try", "error"),
                [
                    (f.repository, f.failures, until(f.retry_ms - overview.now_ms), f.last_error)
                    for f in overview.failures
                ],
                title="Failing",
            ),
            _troubles(overview),
            Table(
                ("stage", "set aside", "tries", "next try", "error"),
                [
                    (p.stage, p.key, p.tries, until(p.due_ms - overview.now_ms), p.last_error)
                    for p in overview.poison
                ],
                title="Set aside",
                note="`dredge retry` tries them now.",
            ),
        ),
    )


def until(wait_ms: int) -> str:
    """Return when the next try is, in words."""
    return f"in {tables.human_ms(wait_ms)}" if wait_ms > 0 else "with the next scan"


def _next_try(trouble: Trouble, now_ms: int) -> str:
    return "none" if trouble.next_try_ms is None else until(trouble.next_try_ms - now_ms)


def _troubles(overview: Overview) -> Table:
    rows = [(t.stage, t.subject, t.tries, _next_try(t, overview.now_ms), t.reason) for t in overview.troubles]
    return Table(("stage", "what", "tries", "next try", "error"), rows, title="Failing in other stages")
