"""Keep the outbox, the history and the failures bounded."""

from __future__ import annotations

from dataclasses import dataclass

from model.controls.holds import forget_expired_holds
from model.db.clock import now_ms
from model.db.connection import connection
from model.events import outbox
from model.events.deliveries import prune_dead
from model.gc.due.attempt import forget_attempts_of_gone
from model.gc.due.note import forget_collected
from model.gc.history import prune_history
from model.gc.poison import prune_poison
from model.retention.audit import prune_audit
from model.retention.find import forget_visits
from model.retention.warn import forget_warnings
from worker.jobs.context import JobContext
from worker.jobs.pace import Budget

BATCH = 10_000
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Pruned:
    """The number of rows deleted, and whether there are more."""

    events: int = 0
    collections: int = 0
    has_more: bool = False


def prune(context: JobContext, *, budget_s: float) -> Pruned:
    """Delete old rows of Dredge's own tables, in bounded batches.

    These are published events, history, audit and abandoned deliveries past their retention, state of
    repositories and tags that no longer exist, and expired holds.  Idempotent; calls may be concurrent.
    """
    settings = context.settings
    budget = Budget(budget_s)
    with connection():
        moment = now_ms()
        forget_attempts_of_gone()
        forget_collected(limit=BATCH)
        forget_visits()
        forget_warnings()
        forget_expired_holds()
        published_before = moment - settings.event_retention_s * 1000
        finished_before = moment - settings.history_days * DAY_MS
        prune_poison(before_ms=finished_before)
        events = collections = 0
        while True:
            gone = outbox.prune_published(before_ms=published_before, limit=BATCH)
            old = prune_history(before_ms=finished_before, limit=BATCH)
            audited = prune_audit(before_ms=finished_before, limit=BATCH)
            events, collections = events + gone, collections + old
            dead = prune_dead(before_ms=finished_before, limit=BATCH)
            has_more = max(gone, old, audited, dead) >= BATCH
            if not has_more or not budget:
                return Pruned(events, collections, has_more)
