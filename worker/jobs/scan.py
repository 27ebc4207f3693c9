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
    """The numbers of repositories that one scan examined, found with garbage, and enqueued."""

    looked: int
    due: int
    enqueued: int


def scan(context: JobContext) -> Scanned:
    """Examine the next slice of repositories and enqueue those with garbage, longest waiting first.

    Leaves out repositories on hold or with an open breaker.  Records all others with garbage in the table of
    due repositories.  Enqueues at most the configured number of one namespace; the others follow as workers
    take those.  A repository that already waits is not enqueued again.

    The settings bound the slice.  A cursor in the database lets the next scan continue; it moves only after
    the broker has the messages.  Idempotent; concurrent scans may examine the same repositories.
    """
    settings = context.settings
    with connection():
        start = read_cursor(CURSOR)
        found, end, looked = find_due(
            context.policy, after=start, slice=settings.scan_slice, limit=settings.scan_limit
        )
        # Messages that were lost with the broker are noticed here.
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
