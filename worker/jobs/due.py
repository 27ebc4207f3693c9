"""Repositories at the instant they come due, so that nothing waits for the next scan."""

from __future__ import annotations

from model.db.connection import connection
from model.gc.next_due import find_next_due_ms
from worker.jobs.context import Toolbox

LIMIT = 1000


def remember_next(toolbox: Toolbox, repository_id: int) -> None:
    """Note when the repository has garbage next, if that is known; again changes nothing."""
    with connection():
        due_ms = find_next_due_ms(repository_id)
    if due_ms is not None:
        toolbox.due.remember({repository_id: due_ms})


def enqueue_due(toolbox: Toolbox, *, now_ms: int) -> int:
    """Enqueue the collection of at most `LIMIT` repositories that are due, earliest first; how many.

    What is taken here and then lost with the broker is found by the scan.
    """
    due = toolbox.due.take_due(now_ms, LIMIT)
    return toolbox.queue.collect(due) if due else 0
