"""A channel that holds a message outlives its connection without an error that nobody expects."""

from __future__ import annotations

import pytest
import redis
from kombu import Connection

from tests.support.patience import PATIENCE_S
from worker.broker import kombu_patch as reconnecting


def test_a_channel_that_is_closed_late_fails_as_connections_do(valkey: str) -> None:
    reconnecting.install()
    with Connection(valkey) as connection:
        queue = connection.SimpleQueue("held")
        queue.put("something")
        queue.get(timeout=PATIENCE_S)  # held: neither acknowledged nor rejected
        channel = queue.channel
        transport, connection.transport.client = connection.transport, None
        try:
            channel._disconnect_pools()
            with pytest.raises(redis.ConnectionError):
                channel.close()
        finally:
            transport.client = connection
