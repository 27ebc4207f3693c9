"""A trace in the broker.  If it is missing, the broker is new, or was flushed and lost its queues."""

from __future__ import annotations

import uuid
from typing import Protocol

import amqp
from kombu import Connection, Queue

from worker.broker import routes
from worker.broker.connection import connect, open_channel
from worker.broker.urls import is_amqp


class Trace(Protocol):
    """Read and written through the publisher's connection.  Raises the errors that `OUTAGE` lists."""

    def exists(self, link: Connection) -> bool: ...
    def leave(self, link: Connection) -> None: ...


class RedisTrace:
    """A key beside the queues."""

    def __init__(self, url: str, key_prefix: str) -> None:
        self._redis = connect(url)
        self._key = key_prefix + "events.epoch"

    def exists(self, link: Connection) -> bool:
        return bool(self._redis.exists(self._key))

    def leave(self, link: Connection) -> None:
        self._redis.set(self._key, str(uuid.uuid4()))


class AmqpTrace:
    """An empty queue that only the publisher declares."""

    QUEUE = "dredge.epoch"

    def exists(self, link: Connection) -> bool:
        with open_channel(link) as channel:
            try:
                channel.queue_declare(self.QUEUE, passive=True)
            except amqp.NotFound:
                return False
        return True

    def leave(self, link: Connection) -> None:
        with open_channel(link) as channel:
            Queue(self.QUEUE, durable=True, queue_arguments=routes.QUORUM, channel=channel).declare()


def trace_in(url: str, key_prefix: str) -> Trace:
    """Return the kind of trace for the broker at `url`."""
    return AmqpTrace() if is_amqp(url) else RedisTrace(url, key_prefix)
