"""Repositories at the instant they come due, so that nothing waits for the next scan."""

from __future__ import annotations

from model.db.connection import connection
from model.gc.next_due import find_next_due_ms
from worker.jobs.context import JobContext

LIMIT = 1000


def remember_next(context: JobContext, repository_id: int) -> None:
    """Note when the repository has garbage next, if that is known.  Idempotent."""
    with connection():
        due_ms = find_next_due_ms(repository_id)
    if due_ms is not None:
        context.due.remember({repository_id: due_ms})


def enqueue_due(context: JobContext, *, now_ms: int) -> int:
    """Enqueue the collection of at most `LIMIT` repositories that are due, earliest first.  Returns how many.

    What is taken here and then lost with the broker is found by the scan.
    """
    due = context.due.take_due(now_ms, LIMIT)
    return context.queue.collect(due) if due else 0
