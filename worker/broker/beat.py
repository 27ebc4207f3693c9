"""The scheduler: RedBeat, of which any number may run and one sends, made to outlive its Redis."""

from __future__ import annotations

import time
from typing import Any

import redis.exceptions
from redbeat.schedulers import RedBeatScheduler, RetryingConnection, acquire_distributed_beat_lock

from worker import logs
from worker.wiring import own_redis

log = logs.logger("dredge.beat")

RETRY_S = 1.0
RETRY_PERIOD_S = 5


class Scheduler(RedBeatScheduler):  # type: ignore[misc]
    """RedBeat, that waits for a Redis that is down and starts over on one that was flushed."""

    lock: Any = None
    _closed = False

    def __init__(self, app: Any, **options: Any) -> None:
        """RedBeat takes the client that it finds at the application, whatever its own settings say."""
        app.redbeat_redis = RetryingConnection(RETRY_PERIOD_S, own_redis())
        super().__init__(app, **options)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send what is due; seconds until the next look.

        A lock that is lost (Redis flushed, or this process was frozen and another took over) is
        waited for as at the start, and the schedule is written again.
        """
        if self._closed:
            # A signal's SystemExit is lost where it happens to be raised inside a destructor.
            raise SystemExit
        try:
            if self.lock is None:
                self._start_over()
            return float(super().tick(*args, **kwargs))
        except redis.exceptions.LockError as error:
            log.warning("beat.lock_lost", error=str(error))
            self.lock = None
        except (redis.exceptions.RedisError, OSError) as error:
            # Also one that answers and refuses: read-only after a failover, or full.
            log.warning("beat.redis_unavailable", error=str(error))
            time.sleep(RETRY_S)
        return 0.1

    def _start_over(self) -> None:
        acquire_distributed_beat_lock(sender=_Sender(self))
        self.setup_schedule()

    def close(self) -> None:
        """Release the lock, so that a standby takes over at once; a dead Redis is no reason to fail.

        No tick comes after it: called when a signal asks this process to end, and at its end.
        """
        self._closed = True
        try:
            super().close()
        except (redis.exceptions.RedisError, OSError) as error:
            log.warning("beat.redis_unavailable", error=str(error))


class _Sender:
    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
