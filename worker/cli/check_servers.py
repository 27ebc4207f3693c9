"""`dredge check`: try the broker, Redis, cache and a Quay's Redis with the commands that workers send."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import redis

from model.errors import BadInput
from worker.broker import trials, urls, uses
from worker.broker.connection import OUTAGE, connect
from worker.broker.uses import Server
from worker.cli.finding import CheckResult, unset
from worker.settings import Settings


def check_broker(settings: Settings) -> Iterator[CheckResult]:
    """Try the queues on the broker, and results, marks and the schedule on the Redis."""
    if not settings.broker_url:
        yield unset("broker", "DREDGE_BROKER_URL")
        return
    for server in uses.of_tasks(settings):
        yield from _use(server, settings)
    if not urls.is_amqp(settings.broker_url):
        yield from _memory(settings.broker_url)


def check_cache(settings: Settings) -> Iterator[CheckResult]:
    """Try the cache, and its replica."""
    url = settings.cache_url or settings.own_redis
    if url and not url.startswith(("memory://", "none://")):
        yield from _use(Server("cache", url, {"entries": trials.cache_trial(url)}), settings)
    if settings.cache_replica_url:
        trial = trials.replica_trial(settings.cache_replica_url)
        yield from _use(Server("cache_replica", settings.cache_replica_url, {"entries": trial}), settings)


def check_quay(settings: Settings) -> Iterator[CheckResult]:
    """Try the Redis of a live Quay."""
    if settings.quay_redis_url:
        yield from _use(Server("quay_redis", settings.quay_redis_url, {"locks": trials.try_quay}), settings)


def _use(server: Server, settings: Settings) -> Iterator[CheckResult]:
    """Yield one finding for all uses that work, and one for each that fails; ask a silent server once."""
    works = []
    for use, trial in server.trials.items():
        try:
            trial(settings)
        except (*OUTAGE, BadInput) as error:
            yield CheckResult(server.part, use, server.problem(use, error))
            if not isinstance(error, redis.ResponseError):
                return
        else:
            works.append(use)
    if works:
        what = f"{_server(server.url)} at {urls.place(server.url)} can be used for {', '.join(works)}"
        yield CheckResult(server.part, what)


def _server(url: str) -> str:
    if urls.is_amqp(url):
        return "RabbitMQ"
    with suppress(*OUTAGE, BadInput), connect(url) as client:
        return f"Redis {client.info('server').get('redis_version', '')}".strip()
    return "Redis"


def _memory(url: str) -> Iterator[CheckResult]:
    """Yield a finding if the broker drops messages when its memory is full."""
    with suppress(*OUTAGE), connect(url) as client:
        memory = client.info("memory")
        policy = memory.get("maxmemory_policy", "noeviction")
        if memory.get("maxmemory") and policy != "noeviction":
            problem = (
                f"The broker throws messages away when it is full ({policy}): set maxmemory-policy noeviction"
            )
            yield CheckResult("broker", "memory", problem)
