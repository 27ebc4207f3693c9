"""Delete security reports of dead manifests at the scanner."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

from model.counts import Counts
from model.db.queue_start import QueueStart
from model.gc.security_reports import (
    claim_report_debts,
    record_report_error,
    release_report_debts,
    settle_report_debts,
)
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.pace import Budget
from worker.quay.clair import Scanner

log = logs.logger("dredge.reports")

# Few enough that slow answers to all of them arrive before the first one is due again.
BATCH = 5
# After so many failures in a row the scanner counts as unavailable; fewer may be single bad reports.
PATIENCE = 2


@dataclass(frozen=True)
class DeletedReports(Counts):
    """What one turn did: reports deleted at the scanner, no longer to be deleted, and postponed."""

    deleted: int = 0
    dropped: int = 0
    failed: int = 0
    has_more: bool = False


def deliver_reports(context: JobContext, *, budget_s: float) -> DeletedReports:
    """Delete reports until none is due or the budget is used up (then `has_more` is True).

    Does nothing without a configured scanner.  After two failures in a row the others are postponed, too.
    After a crash some reports are deleted again, which is harmless.  Idempotent.
    """
    settings = context.settings
    if not settings.clair_url:
        return DeletedReports()
    budget = Budget(budget_s)
    total = DeletedReports()
    start = context.starts["reports"]
    start.begin()
    with closing(Scanner(settings.clair_url, settings.clair_psk)) as scanner:
        while True:
            if find_stop(context):
                return replace(total, has_more=False)
            batch = _deliver_batch(scanner, start)
            total += batch
            if not batch.has_more or not budget:
                return total


def _deliver_batch(scanner: Scanner, start: QueueStart) -> DeletedReports:
    """Request one deletion after the other, with no transaction open.

    A report that the scanner refuses does not stop the others.  After two failures in a row the scanner
    counts as unavailable.
    """
    debts = claim_report_debts(limit=BATCH, start=start.go_on())
    start.reach(min((debt.key for debt in debts), default=None))
    owed = [debt for debt in debts if debt.owed]
    dropped = [debt.id for debt in debts if not debt.owed]
    paid: list[int] = []
    failed = in_a_row = 0
    for number, debt in enumerate(owed):
        try:
            scanner.delete_report(debt.digest)
        except Exception as error:  # noqa: BLE001  one report's odd answer blocks no other
            log.warning("report.not_deleted", digest=debt.digest, error=str(error))
            record_report_error(debt.id, str(error))
            failed, in_a_row = failed + 1, in_a_row + 1
            if in_a_row == PATIENCE:
                untried = owed[number + 1 :]
                release_report_debts([each.id for each in untried], str(error))
                failed += len(untried)
                break
        else:
            paid.append(debt.id)
            in_a_row = 0
    settle_report_debts([*paid, *dropped])
    unavailable = in_a_row == PATIENCE
    return DeletedReports(len(paid), len(dropped), failed, has_more=len(debts) == BATCH and not unavailable)
