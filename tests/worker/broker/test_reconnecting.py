"""A connection that closes loses no message, and a channel that it leaves fails as others do."""

from __future__ import annotations

import socket

import pytest
import redis
from kombu import Connection, Consumer, Exchange, Queue

from tests.support.patience import PATIENCE_S
from worker.broker import kombu_patch


def test_a_channel_that_is_closed_late_fails_as_connections_do(valkey: str) -> None:
    kombu_patch.install()
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


def test_a_message_that_arrives_while_the_connection_closes_returns_to_its_queue(valkey: str) -> None:
    kombu_patch.install()
    queue = Queue("events", Exchange("events"), routing_key="events")
    client = redis.Redis.from_url(valkey)
    client.rpush("bystander", "another message")
    with Connection(valkey) as sending, Connection(valkey) as closing:
        with Consumer(closing.channel(), queues=[queue], callbacks=[lambda *_: None]):
            with pytest.raises(socket.timeout):
                closing.drain_events(timeout=0.1)  # From now on a BRPOP waits for an answer.
            sending.Producer().publish("late", exchange=queue.exchange, routing_key="events")
            assert not client.exists("events")
        closing.release()
        assert client.llen("events") == client.llen("bystander") == 1
    client.close()
