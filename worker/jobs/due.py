"""Enqueue repositories as soon as they are due, without waiting for the next scan."""

from __future__ import annotations

from model.db.connection import connection
from model.gc.due.waiting import find_first, find_waiting, mark_queued
from worker.jobs.context import JobContext
from worker.jobs.controls import find_stop

# Messages in the queue.  Each task takes other repositories along, whose messages would be for nothing.
LIMIT = 200


def enqueue_due(context: JobContext) -> int:
    """Enqueue due repositories until `LIMIT` wait in the queue, longest waiting first.  Returns how many.

    At most the configured number of repositories of one namespace wait in the queue; the others follow as
    workers take those.  Rows are marked after the messages are sent, so a crash in between sends some
    repositories again; the queue ignores a repository that already waits.
    """
    with connection():
        if find_stop(context):
            return 0
        start = context.starts["waiting"]
        first = find_first(start.begin())
        start.reach(first.key)
        if not first.found:
            return 0
        due = find_waiting(limit=LIMIT, share=context.settings.namespace_share, start=first.key)
        if not due:
            return 0
        sent = context.queue.collect(due)
        mark_queued(due)
    return sent
