"""Try the commands that a worker sends to each server, with names of their own, for `dredge check`.

A server that answers a PING may still refuse commands that a worker needs.  Each function raises the error
that the worker would meet, within seconds, and leaves nothing behind.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis
import redis_lock
from celery import Celery
from kombu import Connection, Consumer, Exchange, Producer, Queue

from model import redis_url
from model.cache.backend import CacheUnavailable
from model.cache.connect import connector
from model.cache.redis import RedisBackend
from worker.broker import routes
from worker.broker.backlog import RedisBacklog
from worker.broker.connection import ONCE_MORE, connect, retry_once
from worker.broker.task_queue import CLAIM
from worker.broker.urls import TIMEOUT_S, for_kombu, is_amqp
from worker.settings import Settings

LIFE_S = 60
ATTEMPTS = 10
# Celery's exchange for broadcasts, and a command that every worker ignores.
BROADCASTS = Exchange("celery.pidbox", type="fanout", durable=False)
COMMAND = {"method": "ping", "arguments": {}, "destination": ["dredge.check"]}
Trial = Callable[[Settings], None]


def _name() -> str:
    return f"dredge.check.{uuid.uuid4().hex}"


def try_queues(settings: Settings) -> None:
    """Send and receive a message of a task queue, and a broadcast, as Celery does."""
    url = settings.broker_url
    found = for_kombu(url)
    options = routes.transport_options(url, settings.key_prefix)
    if not is_amqp(url):
        options |= ONCE_MORE
    with Connection(
        found.url, ssl=found.ssl or False, transport_options=options, connect_timeout=TIMEOUT_S
    ) as link:
        link.ensure_connection(**ONCE_MORE, timeout=TIMEOUT_S)
        name = _name()
        own = Exchange(name, type="direct", durable=False, auto_delete=True)
        _carry(link, Queue(name, own, routing_key=name, durable=False, exclusive=True))
        _carry(link, Queue(f"{name}.all", BROADCASTS, routing_key="", durable=False, exclusive=True))


def _carry(link: Connection, queue: Queue) -> None:
    taken: list[object] = []

    def take(body: object, message: Any) -> None:
        message.ack()
        taken.append(body)

    with link.channel() as channel:
        with Consumer(channel, queues=[queue], callbacks=[take], accept=["json"]):
            producer = Producer(channel)
            # The first broadcast is lost, because kombu subscribes only when it waits for one.
            for _ in range(ATTEMPTS):
                producer.publish(
                    COMMAND,
                    exchange=queue.exchange,
                    routing_key=queue.routing_key,
                    declare=[queue],
                    confirm_timeout=TIMEOUT_S,
                )
                with suppress(TimeoutError):
                    link.drain_events(timeout=1)
                if taken:
                    break
            else:
                raise TimeoutError("a message that was sent did not arrive")
        # Without a consumer, whose cancellation RabbitMQ would announce while the channel closes.
        queue(channel).delete()


def sentinels_trial(url: str) -> Trial:
    """Return a trial of the Sentinels at `url`, one of which must answer with these credentials."""

    def try_sentinels(_settings: Settings) -> None:
        found, failures = redis_url.parse(url), list[redis.RedisError]()
        options = {**found.sentinel_options(TIMEOUT_S), "retry": retry_once()}
        for host, port in found.nodes:
            with redis.Redis(host=host, port=port, **options) as client:
                try:
                    client.ping()
                except redis.RedisError as error:
                    failures.append(error)
        if len(failures) == len(found.nodes):
            raise failures[0]

    return try_sentinels


def try_results(settings: Settings) -> None:
    """Store, announce and read a task's result, with the client of Celery's backend."""
    found = for_kombu(settings.own_redis)
    app = Celery(set_as_current=False)
    app.conf.update(
        result_backend=found.url,
        result_backend_transport_options=found.transport_options,
        redis_backend_use_ssl=found.ssl,
        redis_socket_timeout=TIMEOUT_S,
        redis_socket_connect_timeout=TIMEOUT_S,
    )
    client: Any = app.backend.client
    key = f"celery-task-meta-{_name()}"
    with client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(key)
        client.set(key, "{}", ex=LIFE_S)
        client.publish(key, "{}")
        channel.unsubscribe(key)
    client.mget([key])
    client.delete(key)
    app.close()


def try_marks(settings: Settings) -> None:
    """Mark a task as waiting, read its queue, and store an event's ID."""
    with connect(settings.own_redis) as client:
        key = f"{settings.key_prefix}{_name()}"
        client.register_script(CLAIM)([key], [0, 0, LIFE_S * 1000])
        RedisBacklog(client, settings.key_prefix).oldest_ms(_name())
        with client.pipeline(transaction=False) as pipe:
            pipe.set(key, 1, px=LIFE_S * 1000)
            pipe.execute()
        client.mget([key])
        client.delete(key)


def try_schedule(settings: Settings) -> None:
    """Take a lock like the scheduler's, and write and read an entry, as RedBeat does."""
    with connect(settings.own_redis, decode_responses=True) as client:
        key = f"{settings.key_prefix}redbeat:{_name()}"
        with client.lock(f"{key}:lock", timeout=LIFE_S, blocking=False):
            client.hset(key, "definition", "{}")
            client.hsetnx(key, "meta", "{}")
            client.hget(key, "definition")
            client.zadd(f"{key}:schedule", {key: 1})
            client.zrangebyscore(f"{key}:schedule", 0, 1)
            client.sadd(f"{key}:statics", key)
            client.smembers(f"{key}:statics")
            with client.pipeline() as pipe:
                pipe.zrem(f"{key}:schedule", key)
                pipe.srem(f"{key}:statics", key)
                pipe.delete(key)
                pipe.execute()


def cache_trial(url: str) -> Trial:
    """Return a trial of the cache at `url`, which stores, reads and deletes an entry."""

    def try_cache(settings: Settings) -> None:
        backend = RedisBackend(connector(url, TIMEOUT_S), prefix=settings.cache_prefix)
        name = _name()
        try:
            backend.swap(name, None, b"x", LIFE_S * 1000)
            backend.get_both(name, name)
            backend.settle(name, b"x", b"y", LIFE_S * 1000)
            backend.get(name)
            backend.delete([name])
        except CacheUnavailable as error:
            raise error.__cause__ or error from None
        finally:
            backend.close()

    return try_cache


def replica_trial(url: str) -> Trial:
    """Return a trial of a replica of the cache, which only reads."""

    def try_replica(settings: Settings) -> None:
        client = connector(url, TIMEOUT_S)()
        client.get(settings.cache_prefix + _name())
        client.close()

    return try_replica


def try_quay(settings: Settings) -> None:
    """Take and release a lock as a live Quay does, and delete a cache entry."""
    with connect(settings.quay_redis_url, decode_responses=True) as client:
        name = _name()
        lock = redis_lock.Lock(client, f"BLOB_DELETE_{name}", expire=LIFE_S, strict=False)
        lock.acquire(blocking=False)
        client.mget([f"lock:BLOB_DELETE_{name}"])
        lock.release()
        client.unlink(name)
