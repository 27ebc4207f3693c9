"""`dredge fsck`."""

from __future__ import annotations

import sys
import time

import click

from model.db.clock import now_ms
from model.fsck.check import Finding
from model.human import counted
from worker.cli import output, tables
from worker.former_names import with_former_findings
from worker.fsck.run import Report, check_registry
from worker.storage.open import open_stores


@click.command(name="fsck")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--deep", is_flag=True, help="Read every manifest and every object and verify its digest.")
@click.option("--no-objects", is_flag=True, help="Check rows only.")
@click.option(
    "--young",
    "young_s",
    default=3600,
    show_default=True,
    type=click.IntRange(0),
    help="Report unknown objects younger than this as pending, seconds.",
)
def command(as_json: bool, deep: bool, no_objects: bool, young_s: int) -> None:
    """Check every invariant between rows and objects.  Reads only; exit 1 on a violation.

    You can run it at any time beside a running system.
    """
    settings = output.settings()
    if not no_objects:
        output.require(settings, "storage")
    stores = open_stores(settings.storage, upload=settings.upload_location) if not no_objects else {}
    started = time.monotonic()
    with output.connected(settings), output.progress("checking") as advance:
        report = check_registry(
            list(stores.items()),
            policy=settings.policy,
            now_ms=now_ms(),
            young_ms=young_s * 1000,
            deep=deep,
            progress=lambda name: advance(1, description=name),
        )
    seconds = round(time.monotonic() - started, 3)
    if as_json:
        output.emit_json(_as_json(report, seconds))
    else:
        _print(report, seconds)
    sys.exit(0 if report else 1)


def _as_json(report: Report, seconds: float) -> dict[str, object]:
    return {
        "violations": sum(finding.count for finding in report.violations),
        "pending": sum(finding.count for finding in report.pending),
        "objects": report.objects,
        "bytes": report.bytes,
        "seconds": seconds,
        "checks": with_former_findings([vars(finding) for finding in report.findings]),
    }


def _print(report: Report, seconds: float) -> None:
    for title, findings in (("Violations", report.violations), ("Pending work", report.pending)):
        if findings:
            tables.table(("check", "count", "what", "for example"), [_row(f) for f in findings], title=title)
    for finding in report.violations:
        click.echo(f"{finding.name}: {finding.advice}")
    violations = counted(sum(f.count for f in report.violations), "violation")
    click.echo(
        f"{counted(len(report.findings), 'check')}, {counted(report.objects, 'object')}"
        f" ({tables.human_bytes(report.bytes)}), {violations}, {seconds} s"
    )


def _row(finding: Finding) -> tuple[object, ...]:
    return finding.name, finding.count, finding.what, "; ".join(finding.examples[:2])
