"""Find repositories with garbage and enqueue one collection for each."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import connection
from model.gc.cursor import move_cursor, read_cursor
from model.gc.due.note import note_due
from model.gc.due.waiting import forget_queued, in_share, mark_queued
from model.gc.find import rank
from worker import logs
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop, without_stopped
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

    What is on hold or behind an open breaker is left out.  All that are found are noted in the table of due
    repositories; of one namespace no more than its share is enqueued, the rest follows as those are taken.
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
        # A message that was lost with the broker is missed here.
        forget_queued(age_ms=int(2000 * settings.scan_interval_s))
        ranked = rank(without_stopped(found), limit=settings.scan_limit)
        note_due({due.repository_id: due.due_ms for due in ranked})
        allowed = [] if find_stop(context) else ranked
        chosen = in_share(allowed, limit=settings.scan_limit, share=settings.namespace_share)
        sent = context.queue.collect(chosen)
        mark_queued(chosen)
        move_cursor(CURSOR, end)
    if found:
        log.info("scan.found", looked=looked, due=len(found), enqueued=sent)
    return Scanned(looked, len(found), sent)
