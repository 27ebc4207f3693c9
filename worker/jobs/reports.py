"""Deliver the deletions of security reports that are owed to the scanner."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

from model.db.connection import transaction
from model.gc.security_reports import claim_report_debts, postpone_report_debts, settle_report_debts
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop
from worker.jobs.pace import Budget
from worker.quay.clair import Scanner, ScannerUnavailable

log = logs.logger("dredge.reports")

# So few that slow answers to all of them stay below the server's limit on idle transactions.
BATCH = 10


@dataclass(frozen=True)
class Delivered:
    """What one turn did: deleted at the scanner, no longer owed, postponed."""

    deleted: int = 0
    dropped: int = 0
    failed: int = 0
    has_more: bool = False


def deliver_reports(context: JobContext, *, budget_s: float) -> Delivered:
    """Delete owed reports until none is due or the budget is used up; then `has_more`.

    Only where a scanner is configured.  After the first failure of a batch the rest of it waits too:
    an unavailable scanner is asked once.  A crash leaves debts that are paid again, harmlessly.
    """
    settings = context.settings
    if not settings.clair_url:
        return Delivered()
    budget = Budget(budget_s)
    total = Delivered()
    with closing(Scanner(settings.clair_url, settings.clair_psk)) as scanner:
        while True:
            if find_stop(context):
                return replace(total, has_more=False)
            batch = _deliver_batch(scanner)
            total = Delivered(
                total.deleted + batch.deleted,
                total.dropped + batch.dropped,
                total.failed + batch.failed,
                batch.has_more,
            )
            if not batch.has_more or not budget:
                return total


def _deliver_batch(scanner: Scanner) -> Delivered:
    with transaction():
        debts = claim_report_debts(limit=BATCH)
        if not debts:
            return Delivered()
        owed = [debt for debt in debts if debt.owed]
        paid: list[int] = []
        try:
            for debt in owed:
                scanner.delete_report(debt.digest)
                paid.append(debt.id)
        except ScannerUnavailable as error:
            log.warning("report.not_deleted", error=str(error))
            unpaid = [debt.id for debt in owed if debt.id not in paid]
            postpone_report_debts(unpaid, str(error))
        dropped = [debt.id for debt in debts if not debt.owed]
        settle_report_debts([*paid, *dropped])
        failed = len(owed) - len(paid)
        return Delivered(len(paid), len(dropped), failed, has_more=len(debts) == BATCH and not failed)
