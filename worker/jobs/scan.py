"""Find repositories with garbage and enqueue one collection for each."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import connection
from model.gc.cursor import move_cursor, read_cursor
from model.gc.find import rank
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.controls import without_stopped
from worker.jobs.find import find_due

log = logs.logger("dredge.scan")

CURSOR = "find"


@dataclass(frozen=True)
class Scanned:
    """What one scan found: repositories looked at, with garbage, and enqueued."""

    looked: int
    due: int
    enqueued: int


def scan(context: JobContext) -> Scanned:
    """Look at the next slice of repositories and enqueue those with garbage, longest waiting first.

    What is on hold or behind an open breaker is left out.
    The slice is bounded by the settings; a cursor in the database makes the next scan go on where
    this one ended, so a whole pass takes a known time.  The cursor moves only after the queue has
    taken what was found.  One that waits already is not enqueued again.  Two scans at once look twice.
    """
    settings = context.settings
    with connection():
        start = read_cursor(CURSOR)
        found, end, looked = find_due(
            context.policy, after=start, slice=settings.scan_slice, limit=settings.scan_limit
        )
        ranked = rank(without_stopped(found), limit=settings.scan_limit)
        sent = context.queue.collect([due.repository_id for due in ranked])
        move_cursor(CURSOR, end)
    if found:
        log.info("scan.found", looked=looked, due=len(found), enqueued=sent)
    return Scanned(looked, len(found), sent)
