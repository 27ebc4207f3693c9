"""Connect to the Redis of queues, marks and locks; the errors that mean that a broker is unavailable."""

from __future__ import annotations

from typing import Any

import amqp
import redis
from kombu import Connection
from kombu.exceptions import BatchPublishError, OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from model import redis_client
from model.errors import RegistryError
from worker.broker.urls import TIMEOUT_S, check_redis

# kombu would wait two seconds before its second try.
ONCE_MORE: dict[str, Any] = {"max_retries": 1, "interval_start": 0}
OUTAGE = (redis.RedisError, amqp.AMQPError, OperationalError, BatchPublishError, OSError)


class BrokerUnavailable(RegistryError):
    """The broker did not answer."""

    retryable = True


def connect(url: str, *, timeout_s: float = TIMEOUT_S, decode_responses: bool = False) -> redis.Redis:
    """Return a client that answers or fails within seconds.  Opens no connection yet.  Raises `BadInput`."""
    client = redis_client.connector(
        check_redis(url),
        timeout_s,
        health_check_interval=10,
        retry=retry_once(),
        client_name="dredge",
        decode_responses=decode_responses,
    )()
    assert isinstance(client, redis.Redis)
    return client


def retry_once() -> Retry:
    """Return what a client does about a failure: try once more at once.  redis-py would try for seconds."""
    return Retry(NoBackoff(), 1)


def open_channel(link: Connection) -> Any:
    """Return a new channel; connect before if needed, with one more try at once."""
    link.ensure_connection(**ONCE_MORE, reraise_as_library_errors=False)
    return link.channel()
