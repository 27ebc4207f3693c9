"""`dredge status`."""

from __future__ import annotations

from dataclasses import asdict

import click

from model.controls.breaker import OpenBreaker, list_open
from model.controls.holds import Hold, list_holds
from model.db.clock import now_ms
from model.gc.find import rank
from model.gc.inspect.status import Failing, Freed, Waiting, read_failures, read_freed, read_waiting
from worker.cli import output, tables
from worker.cli.times import when
from worker.jobs.find import find_due

LOOK = 5_000


@click.command(name="status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--hours", default=24, show_default=True, type=click.IntRange(1), help="Freed in the last …")
def command(as_json: bool, hours: int) -> None:
    """Show holds, the backlog, the oldest overdue, what fails, and what was freed, by namespace.

    Repositories with garbage are counted among the first 5,000 only (dredge scan looks at all).
    """
    settings = output.settings()
    with output.connected(settings):
        moment = now_ms()
        waiting = read_waiting()
        found, position, looked = find_due(settings.policy, after=0, slice=LOOK, limit=LOOK)
        found = rank(found, limit=LOOK)
        freed = read_freed(since_ms=moment - hours * 3_600_000, limit=20)
        failures = read_failures(limit=20)
        holds, breakers = list_holds(), list_open()
    overdue_ms = max((moment - due.due_ms for due in found), default=0)
    facts = {
        "repositories_due": len(found),
        "repositories_looked_at": looked,
        "whole_registry": not position,
        "oldest_overdue_ms": overdue_ms,
        **asdict(waiting),
    }
    if as_json:
        output.emit_json(
            {
                **facts,
                "holds": [asdict(hold) for hold in holds],
                "breakers": [asdict(breaker) for breaker in breakers],
                "freed": [asdict(row) for row in freed],
                "failures": [asdict(row) for row in failures],
            }
        )
    else:
        _print_stops(holds, breakers)
        _print(facts, waiting, freed, failures, moment, hours)


def _print_stops(holds: list[Hold], breakers: list[OpenBreaker]) -> None:
    if breakers:
        tables.table(
            ("breaker open", "since", "reason"),
            [(breaker.namespace, when(breaker.opened_ms), breaker.reason) for breaker in breakers],
        )
        click.echo("Nothing is removed there until `dredge approve`.\n")
    if holds:
        tables.table(
            ("on hold", "until", "by", "reason"),
            [(hold.target, when(hold.until_ms) or "resumed", hold.author, hold.reason) for hold in holds],
        )
        click.echo()


def _print(
    facts: dict[str, object],
    waiting: Waiting,
    freed: list[Freed],
    failures: list[Failing],
    moment: int,
    hours: int,
) -> None:
    more = "" if facts["whole_registry"] else f" among the first {facts['repositories_looked_at']:,}"
    scanned = waiting.last_scan_ms and f"{tables.human_ms(moment - waiting.last_scan_ms)} ago"
    oldest = waiting.oldest_tombstone_ms and tables.human_ms(moment - waiting.oldest_tombstone_ms)
    tables.table(
        ("waiting", "", ""),
        [
            ("repositories with garbage", f"{facts['repositories_due']:,}{more}", ""),
            ("oldest overdue", tables.human_ms(int(str(facts["oldest_overdue_ms"]))), ""),
            ("manifests to judge", f"{waiting.manifest_candidates:,}", ""),
            ("blobs to review", f"{waiting.blob_candidates:,}", ""),
            (
                "objects to erase",
                f"{waiting.tombstones:,}",
                f"{tables.human_bytes(waiting.tombstone_bytes)}, {waiting.failing_tombstones:,} failing"
                + (f", oldest {oldest}" if oldest else ""),
            ),
            ("security reports to delete", f"{waiting.report_debts:,}", ""),
            ("events to publish", f"{waiting.unpublished_events:,}", ""),
            ("last scan", scanned or "never", ""),
        ],
    )
    _print_history(freed, failures, moment, hours)


def _print_history(freed: list[Freed], failures: list[Failing], moment: int, hours: int) -> None:
    if freed:
        click.echo()
        tables.table(
            ("namespace", "tags", "manifests", "blobs", "objects", "freed"),
            [
                (f.namespace, f.tags, f.manifests, f.blobs, f.objects, tables.human_bytes(f.bytes or 0))
                for f in freed
            ],
            title=f"Freed in the last {hours} hours",
        )
    if failures:
        click.echo()
        tables.table(
            ("repository", "failures", "next try", "error"),
            [(f.repository, f.failures, _until(f.retry_ms - moment), f.last_error) for f in failures],
            title="Failing",
        )


def _until(wait_ms: int) -> str:
    return f"in {tables.human_ms(wait_ms)}" if wait_ms > 0 else "with the next scan"
