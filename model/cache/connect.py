"""Clients of the cache's Redis, with timeouts and without hidden waiting."""

from __future__ import annotations

from collections.abc import Callable

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from model import redis_url
from model.errors import BadInput
from model.redis_url import Client


def connector(url: str, timeout_s: float) -> Callable[[], Client]:
    """A function that makes the client for `url`; raises `BadInput` now for what it cannot be."""
    try:
        parsed = redis_url.parse(url)
    except BadInput as error:
        raise BadInput(f"The URL of a cache {error}") from None
    # One more try on a new connection when a pooled one was found dead, at once; never after a
    # timeout: a frozen server costs one timeout.
    retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    return redis_url.connector(parsed, timeout_s, socket_keepalive=True, retry=retry)
