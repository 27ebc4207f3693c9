"""The queue of tasks on the broker; a task that already waits is not enqueued twice.

Messages may be lost: PostgreSQL has all the work, and the periodic scan enqueues it again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import redis
from celery import Celery

from worker import logs
from worker.broker import routes
from worker.broker.backlog import Backlog, RedisBacklog
from worker.broker.connection import OUTAGE, BrokerUnavailable
from worker.broker.refusals import explain

log = logs.logger("dredge.queueing")

CHUNK = 1000
# A task is enqueued again after this time even if its message still waits; a second message is harmless.
MARK_TTL_MS = 6 * 3_600_000

# Seconds that a stage waits for more work, since it works on thousands of rows across repositories.
BATCHING_DELAY_S = 0.1

# A mark means "a message waits".  It is valid for ARGV[1] ms, and after that as long as its message may
# still be in the queue.  The queue is served in order: messages marked before ARGV[2] have left it.
CLAIM = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local claimed = {}
for n, key in ipairs(KEYS) do
  local marked = tonumber(redis.call('GET', key) or '')
  if not marked or (now - marked > tonumber(ARGV[1]) and marked < tonumber(ARGV[2])) then
    redis.call('SET', key, now, 'PX', ARGV[3])
    claimed[#claimed + 1] = n
  end
end
return {now, claimed}
"""


class CeleryQueue:
    """Enqueues tasks; one that already waits is not enqueued again."""

    def __init__(
        self,
        app: Celery,
        client: redis.Redis,
        *,
        prefix: str,
        believed_ms: int,
        backlog: Backlog | None = None,
        redis_variable: str = "DREDGE_BROKER_URL",
    ) -> None:
        """Use `client` for the marks, and for the queues too unless `backlog` is of another broker.

        A task that did not start within `believed_ms` is enqueued again if its message is gone.  Errors of
        `client` say that `redis_variable` names its server.
        """
        self._app = app
        self._client = client
        self._prefix = prefix
        self._backlog = backlog or RedisBacklog(client, prefix)
        self._believed_ms = believed_ms
        self._redis_variable = redis_variable
        self._claim = client.register_script(CLAIM)
        self._gathering: dict[str, float] = {}

    def collect(self, repository_ids: Sequence[int]) -> int:
        """Enqueue a collection of each repository that has none waiting, in order.  Returns the number sent.

        Raises `BrokerUnavailable` at the first failure; the next scan enqueues the others.
        """
        return self._enqueue_each(routes.COLLECT, "", repository_ids)

    def purge(self, repository_ids: Sequence[int], namespace_ids: Sequence[int] = ()) -> int:
        """Enqueue purges of deleted repositories and namespaces, as `collect` does."""
        sent = self._enqueue_each(routes.PURGE_REPOSITORY, "purge:", repository_ids)
        return sent + self._enqueue_each(routes.PURGE_NAMESPACE, "purge-namespace:", namespace_ids)

    def retain(self, repository_ids: Sequence[int]) -> int:
        """Enqueue the retention rules of repositories, as `collect` does."""
        return self._enqueue_each(routes.RETAIN, "retain:", repository_ids)

    def _enqueue_each(self, task: str, prefix: str, ids: Sequence[int]) -> int:
        sent = 0
        for start in range(0, len(ids), CHUNK):
            chunk = list(dict.fromkeys(ids[start : start + CHUNK]))
            names = [f"{prefix}{id}" for id in chunk]
            sent += self._enqueue(task, names, [(id,) for id in chunk])
        return sent

    def review(self) -> None:
        """Enqueue a review of blob candidates unless one waits."""
        self._enqueue_stage(routes.REVIEW, "review")

    def erase(self) -> None:
        """Enqueue the eraser unless one waits."""
        self._enqueue_stage(routes.ERASE, "erase")

    def reports(self) -> None:
        """Enqueue the deletion of security reports unless one waits."""
        self._enqueue_stage(routes.REPORTS, "reports")

    def started(self, name: str | int) -> None:
        """Record that the task `name` (a repository's ID or a stage) started: it may be enqueued again."""
        try:
            self._client.delete(self._key(str(name)))
        except OUTAGE as error:
            log.warning("broker.unavailable", error=str(error))

    def _enqueue_stage(self, task: str, name: str) -> None:
        """Enqueue a stage.  Best effort: if the broker is down, the periodic run does the work.

        Does nothing during the batching delay of a stage that this process enqueued.
        """
        if time.monotonic() < self._gathering.get(name, 0.0):
            return
        asked = time.monotonic()
        try:
            if self._enqueue(task, [name], [()], countdown=BATCHING_DELAY_S):
                self._gathering[name] = asked + BATCHING_DELAY_S
        except BrokerUnavailable as error:
            log.warning("broker.unavailable", task=task, error=str(error))

    def _enqueue(
        self, task: str, names: list[str], arguments: list[tuple[Any, ...]], countdown: float | None = None
    ) -> int:
        try:
            now, claimed = self._claim(
                [self._key(name) for name in names],
                [self._believed_ms, self._backlog.oldest_ms(routes.QUEUE_OF[task]), MARK_TTL_MS],
            )
        except OUTAGE as error:
            raise explain(error, self._redis_variable) from error
        chosen = [n - 1 for n in claimed]
        try:
            self._publish(task, [arguments[n] for n in chosen], now, countdown)
        except OUTAGE as error:
            self._unmark([names[n] for n in chosen])
            raise explain(error, "DREDGE_BROKER_URL") from error
        return len(chosen)

    def _publish(
        self, task: str, arguments: list[tuple[Any, ...]], now_ms: int, countdown: float | None
    ) -> None:
        if not arguments:
            return
        headers = {"queued_ms": now_ms}
        with (
            self._app.producer_pool.acquire(block=True, timeout=5) as producer,
            producer.batch(max_size=500),
        ):
            for args in arguments:
                self._app.send_task(
                    task,
                    args,
                    producer=producer,
                    countdown=countdown,
                    ignore_result=True,
                    add_to_parent=False,
                    headers=dict(headers),
                )

    def _unmark(self, names: list[str]) -> None:
        try:
            self._client.delete(*[self._key(name) for name in names])
        except OUTAGE:
            log.warning("broker.marks_left", count=len(names))

    def _key(self, name: str) -> str:
        return f"{self._prefix}queued:{name}"
