"""The scheduler: RedBeat, changed to survive outages of its Redis.  Any number may run; one of them sends."""

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
    """RedBeat that waits while Redis is down, and writes its schedule again after a flush."""

    lock: Any = None
    _closed = False
    _is_written = False

    def __init__(self, app: Any, **options: Any) -> None:
        """Give the application our Redis client: RedBeat uses that one instead of its own settings.

        Leaves the schedule to the first tick, which waits for an unavailable Redis.
        """
        app.redbeat_redis = RetryingConnection(RETRY_PERIOD_S, own_redis())
        super().__init__(app, **{**options, "lazy": True})

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send the tasks that are due.  Returns the seconds until the next tick.

        If the lock is lost (Redis was flushed, or this process was frozen and another took over), waits for
        the lock as at the start, and writes the schedule again.
        """
        if self._closed:
            # Python drops a signal's SystemExit if it is raised inside a destructor.
            raise SystemExit
        try:
            if self.lock is None or not self._is_written:
                self._start_over()
            return float(super().tick(*args, **kwargs))
        except redis.exceptions.LockError as error:
            log.warning("beat.lock_lost", error=str(error))
            self.lock = None
        except (redis.exceptions.RedisError, OSError) as error:
            # Includes a Redis that refuses commands: read-only after a failover, or full.
            log.warning("beat.redis_unavailable", error=str(error))
            time.sleep(RETRY_S)
        return 0.1

    def _start_over(self) -> None:
        if self.lock is None:
            acquire_distributed_beat_lock(sender=_Sender(self))
        self.setup_schedule()
        self._is_written = True

    def close(self) -> None:
        """Release the lock, so that a standby takes over at once; ignore an unavailable Redis.

        Called when a signal asks this process to end, and at its end; no tick follows.
        """
        self._closed = True
        try:
            super().close()
        except (redis.exceptions.RedisError, OSError) as error:
            log.warning("beat.redis_unavailable", error=str(error))


class _Sender:
    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
