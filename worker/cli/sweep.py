"""`dredge sweep`."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from model.errors import BadInput
from model.gc.orphans.share import accept_unknown
from worker import wiring
from worker.cli import output, tables
from worker.cli.errors import say_problem
from worker.former_names import SWEPT, with_former_names
from worker.jobs.sweep import sweep
from worker.jobs.sweep_result import Swept
from worker.spelling import did_you_mean, nearest

PASS_S = 10.0**9


@click.command(name="sweep")
@click.option("--dry-run", is_flag=True, help="Only count; change nothing.")
@click.option(
    "--accept",
    "accepted",
    multiple=True,
    metavar="LOCATION",
    help="Accept that the unknown objects counted at this location are garbage, and continue there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per kind.")
def command(dry_run: bool, accepted: tuple[str, ...], as_json: bool) -> None:
    """Find orphans: garbage that crashes of other software left behind.

    Orphans are manifests that no tag reaches, blob rows and labels without a reference, pull statistics of
    tags and manifests that no longer exist, and objects that no row references.  The first pass only
    marks an orphan; a second pass, at least DREDGE_SWEEP_DELAY_S later, confirms it for collection.  The
    command runs one whole pass, or the rest of an interrupted one.  Workers do the same by themselves.

    Objects younger than DREDGE_UPLOAD_TTL_S are skipped.  If more than DREDGE_SWEEP_SHARE percent of a
    location's objects are unknown, the sweep stops there until --accept.
    """
    settings = output.settings()
    output.require(settings, "storage")
    with output.connected(settings), output.progress("sweeping"):
        for location in accepted:
            if not accept_unknown(location):
                advice = did_you_mean(nearest(location, set(settings.storage) - {location}))
                raise BadInput(f"No sweep has found unknown objects at the location {location}{advice}")
        found = sweep(wiring.in_process(settings), budget_s=PASS_S, dry_run=dry_run)
    if as_json:
        for swept in found:
            output.emit_json(with_former_names(asdict(swept), SWEPT))
    else:
        _print(found, dry_run)
    sys.exit(1 if any(swept.error for swept in found) else 0)


def _print(found: tuple[Swept, ...], dry_run: bool) -> None:
    columns = ("kind", "looked at", "suspect", "seen twice", "put back")
    tables.table(columns, [(s.kind, s.looked, s.suspects, s.confirmed, s.put_back) for s in found])
    for swept in found:
        if swept.error:
            say_problem(f"{swept.kind}: {swept.error}", as_json=False)
    if dry_run:
        click.echo("Nothing was changed.")
