"""Ask the broker how far a queue has been served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

import amqp
import redis
from celery import Celery

from worker.broker.connection import open_channel

EMPTY = 2**62


class Backlog(Protocol):
    """What `CeleryQueue` asks the broker."""

    def oldest_ms(self, queue: str) -> int:
        """Return when the next message of the queue was enqueued; all earlier messages have been taken.

        The time is in milliseconds; `EMPTY` if no message waits, 0 if it is unknown.
        """


class RedisBacklog:
    """Reads the next message of a queue, which is a list in Redis."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def oldest_ms(self, queue: str) -> int:
        for message in self._next_messages(queue):
            queued_ms = message.get("headers", {}).get("queued_ms")
            if isinstance(queued_ms, int):
                return queued_ms
        return EMPTY if not self._client.exists(self._prefix + queue) else 0

    def _next_messages(self, queue: str) -> Iterator[dict[str, Any]]:
        waiting = self._client.lrange(self._prefix + queue, -10, -1)
        for raw in reversed(waiting):
            try:
                message = json.loads(raw)
            except ValueError:
                continue
            if isinstance(message, dict):
                yield message


class AmqpBacklog:
    """Counts the messages, since RabbitMQ cannot show a message without delivering it."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def oldest_ms(self, queue: str) -> int:
        with self._app.pool.acquire(block=True, timeout=5) as link, open_channel(link) as channel:
            try:
                waiting = channel.queue_declare(queue, passive=True).message_count
            except amqp.NotFound:
                return EMPTY
        return 0 if waiting else EMPTY
