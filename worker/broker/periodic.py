"""The periodic tasks: record when each ended, and send those whose last end is too long ago.

Beat keeps its schedule in Redis.  A Redis that is flushed more often than a task's interval makes beat wait
anew each time, so the rows decide.
"""

from __future__ import annotations

from celery import Celery

from model import periodic
from worker import logs
from worker.broker.connection import OUTAGE

log = logs.logger("dredge.periodic")


def record_end(app: Celery, task: str) -> None:
    """Record that `task` has ended without an error, if beat sends it."""
    for name, entry in app.conf.beat_schedule.items():
        if entry["task"] == task:
            periodic.record_end(name, _ms(entry["schedule"]))


def send_late(app: Celery) -> None:
    """Send each late task, at most every ten minutes; if the broker does not answer, the next call does."""
    schedule = app.conf.beat_schedule
    late = periodic.claim_late({name: _ms(entry["schedule"]) for name, entry in schedule.items()})
    for name in late:
        log.warning("periodic.late", name=name)
        try:
            app.send_task(schedule[name]["task"])
        except OUTAGE as error:
            log.warning("broker.unavailable", task=name, error=str(error))


def _ms(seconds: float) -> int:
    return int(1000 * seconds)
