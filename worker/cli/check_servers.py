"""`dredge check`: try the broker, Redis, cache and a Quay's Redis with the commands that workers send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

import amqp
import redis

from model.errors import BadInput
from worker.broker import trials, urls
from worker.broker.connection import OUTAGE, connect
from worker.broker.trials import Trial
from worker.cli.finding import CheckResult, unset
from worker.settings import Settings


def check_broker(settings: Settings) -> Iterator[CheckResult]:
    """Try the queues on the broker, and results, marks and the schedule on the Redis."""
    if not settings.broker_url:
        yield unset("broker", "DREDGE_BROKER_URL")
        return
    queues: dict[str, Trial] = {"queues": trials.try_queues}
    redis_uses: dict[str, Trial] = {
        "results": trials.try_results,
        "marks": trials.try_marks,
        "schedule": trials.try_schedule,
    }
    if settings.own_redis == settings.broker_url:
        yield from _use("broker", settings.broker_url, queues | redis_uses, settings)
    else:
        yield from _use("broker", settings.broker_url, queues, settings)
        yield from _use("redis", settings.own_redis, redis_uses, settings)
    if not urls.is_amqp(settings.broker_url):
        yield from _memory(settings.broker_url)


def check_cache(settings: Settings) -> Iterator[CheckResult]:
    """Try the cache, and its replica."""
    url = settings.cache_url or settings.own_redis
    if url and not url.startswith(("memory://", "none://")):
        yield from _use("cache", url, {"entries": trials.cache_trial(url)}, settings)
    if settings.cache_replica_url:
        trial = {"entries": trials.replica_trial(settings.cache_replica_url)}
        yield from _use("cache_replica", settings.cache_replica_url, trial, settings)


def check_quay(settings: Settings) -> Iterator[CheckResult]:
    """Try the Redis of a live Quay."""
    if settings.quay_redis_url:
        yield from _use("quay_redis", settings.quay_redis_url, {"locks": trials.try_quay}, settings)


def _use(part: str, url: str, uses: Mapping[str, Trial], settings: Settings) -> Iterator[CheckResult]:
    """Yield one finding for all uses that work, and one for each that fails; ask a silent server once."""
    place, works = urls.place(url), []
    for use, trial in uses.items():
        try:
            trial(settings)
        except (*OUTAGE, BadInput) as error:
            yield CheckResult(
                part, use, f"{place}: {use} cannot be used ({_short(error)}): {_advice(part, error)}"
            )
            if not isinstance(error, redis.ResponseError):
                return
        else:
            works.append(use)
    if works:
        yield CheckResult(part, f"{_server(url)} at {place} can be used for {', '.join(works)}")


def _short(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def _advice(part: str, error: BaseException) -> str:
    variable = f"DREDGE_{part.upper()}_URL"
    # kombu raises an error of its own from that of redis-py.
    for each in (error, error.__cause__):
        if isinstance(each, redis.exceptions.NoPermissionError):
            return "grant the user what deploy/redis.acl lists"
        if isinstance(each, (redis.AuthenticationError, amqp.AccessRefused)):
            return f"correct user and password in {variable}"
    return f"start it, or correct {variable}"


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
