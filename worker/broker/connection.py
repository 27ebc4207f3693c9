"""Connect to the Redis of queues, marks and locks; the errors that mean that a broker is unavailable."""

from __future__ import annotations

import amqp
import redis
from kombu.exceptions import BatchPublishError, OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from model import redis_client
from model.errors import RegistryError
from worker.broker.urls import TIMEOUT_S, check_redis

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
        retry=Retry(NoBackoff(), 1),
        client_name="dredge",
        decode_responses=decode_responses,
    )()
    assert isinstance(client, redis.Redis)
    return client
