"""The broker's Redis: how to reach it, and what its absence looks like."""

from __future__ import annotations

import redis
from kombu.exceptions import BatchPublishError, OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from model.errors import RegistryError

OUTAGE = (redis.RedisError, OperationalError, BatchPublishError, OSError)


class BrokerUnavailable(RegistryError):
    """The broker did not answer."""

    retryable = True


def connect(url: str) -> redis.Redis:
    """A client that answers or fails within seconds; opens nothing yet."""
    return redis.Redis.from_url(
        url,
        socket_timeout=5,
        socket_connect_timeout=5,
        health_check_interval=10,
        retry=Retry(NoBackoff(), 1),
        client_name="dredge",
    )
