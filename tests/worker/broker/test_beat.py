"""The scheduler's end: once it was told to, it ends, whatever became of the exception that told it."""

from __future__ import annotations

import pytest
from celery import Celery

from worker.broker.beat import Scheduler


def test_a_beat_whose_exit_was_lost_ends_at_its_next_tick(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREDGE_BROKER_URL", valkey)
    app = Celery("beat", broker=valkey)
    app.conf.redbeat_redis_url = valkey
    scheduler = Scheduler(app=app, lazy=True)
    scheduler.close()
    with pytest.raises(SystemExit):
        scheduler.tick()
