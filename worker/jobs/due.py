"""Repositories at the instant they come due, so that nothing waits for the next scan."""

from __future__ import annotations

from model.db.connection import connection
from model.gc.due.waiting import find_waiting, mark_queued
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop

LIMIT = 1000


def enqueue_due(context: JobContext) -> int:
    """Enqueue at most `LIMIT` repositories that are due, longest waiting first; returns how many were sent.

    Of one namespace no more than its share waits in the queue; the rest follows as those are taken.
    Marked after they are sent: a crash in between sends some again, and the queue takes none twice.
    """
    with connection():
        if find_stop(context):
            return 0
        due = find_waiting(limit=LIMIT, share=context.settings.namespace_share)
        if not due:
            return 0
        sent = context.queue.collect(due)
        mark_queued(due)
    return sent
