"""Create clients of the cache's Redis, with timeouts and without hidden retries."""

from __future__ import annotations

from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from model import redis_client, redis_url
from model.errors import BadInput
from model.redis_client import Client


def connector(url: str, timeout_s: float) -> Callable[[], Client]:
    """Return a function that creates the client for `url`.  Raises `BadInput` at once for a wrong URL."""
    try:
        parsed = redis_url.parse(url)
    except BadInput as error:
        raise BadInput(f"The URL of a cache {error}") from None
    # A dead connection of the pool is replaced once, immediately.  A timeout is not retried, so that a frozen
    # server costs one timeout.
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return redis_client.connector(parsed, timeout_s, socket_keepalive=True, retry=retry)
