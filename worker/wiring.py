"""Build the job context from the settings, once per process."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import redis
from celery import Celery

from model.cache.base import DataModelCache
from model.cache.open import open_cache
from model.db import connection as database
from worker import metrics
from worker.broker import connection as broker
from worker.broker.backlog import AmqpBacklog
from worker.broker.task_queue import CeleryQueue
from worker.broker.urls import is_amqp
from worker.jobs.context import JobContext
from worker.jobs.in_process import NoQueue
from worker.settings import Settings
from worker.storage.open import open_stores

_lock = threading.Lock()
_built: JobContext | None = None


def context(app: Celery) -> JobContext:
    """Return this process's context, built from the environment on first use.  Opens no connection yet."""
    global _built
    with _lock:
        if _built is None:
            settings = Settings.from_env(os.environ)
            database.configure(
                settings.database_url,
                application_name="dredge worker",
                pooled=not settings.prepared_statements,
            )
            _built = build(settings, app)
        return _built


def started(box: JobContext, name: str | int) -> None:
    """Record that the queue's task `name` has started: it may be enqueued again from now on."""
    if isinstance(box.queue, CeleryQueue):
        box.queue.started(name)


def queue(app: Celery, settings: Settings) -> CeleryQueue:
    """Return the queue on the broker of these settings."""
    return CeleryQueue(
        app,
        broker.connect(settings.own_redis),
        backlog=AmqpBacklog(app) if is_amqp(settings.broker_url) else None,
        prefix=settings.key_prefix,
        redis_variable=settings.own_redis_variable,
        # The second scan after a lost message, at the latest, enqueues the task again.
        believed_ms=int(2000 * settings.scan_interval_s),
    )


def own_redis() -> redis.Redis:
    """Return a client of the Redis for locks, marks and results, which returns text as RedBeat needs it."""
    return broker.connect(Settings.from_env(os.environ).own_redis, decode_responses=True)


def build(settings: Settings, app: Celery) -> JobContext:
    """Return a context from these settings, without configuring `model.db.connection`."""
    return JobContext(
        settings=settings,
        policy=settings.policy,
        stores=open_stores(settings.storage, upload=settings.upload_location),
        cache=_cache(settings),
        queue=queue(app, settings),
    )


def _cache(settings: Settings) -> DataModelCache:
    return open_cache(
        settings.cache_url or settings.own_redis or "none://",
        replica_url=settings.cache_replica_url,
        quay_url=settings.quay_redis_url,
        prefix=settings.cache_prefix,
        ttls=settings.cache_ttls,
        sizes=settings.cache_sizes,
        max_bytes=settings.cache_max_bytes,
        timeout_s=settings.cache_timeout_s,
        recorder=metrics.CacheRecorder(),
    )


def in_process(settings: Settings, *, ignores_holds: bool = False) -> JobContext:
    """Return a context for a process that runs all stages itself and enqueues nothing."""
    return JobContext(
        settings=settings,
        policy=replace(settings.policy, ignores_holds=ignores_holds),
        stores=open_stores(settings.storage, upload=settings.upload_location),
        cache=_cache(settings),
        queue=NoQueue(),
    )


def after_fork() -> None:
    """Drop the parent's connections in a forked child, without closing them, since the parent uses them.

    The next call of `context` builds a new context.
    """
    global _built, _lock
    _lock = threading.Lock()
    _built = None
    database.disown()
