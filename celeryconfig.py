"""Celery's configuration, from the environment: `celery -A worker worker`, `celery -A worker beat`.

The tests run these values under kill -9, frozen brokers and restarts.
"""

import os

from worker.broker import routes, urls
from worker.environment import in_few_lines as _in_few_lines
from worker.settings import Settings

# Private names, because `celery report`, `inspect conf` and Flower print every public name of this module.
with _in_few_lines():
    _settings = Settings.from_env(os.environ, required=("broker_url",))
_broker = urls.for_kombu(_settings.broker_url)
_redis = urls.for_kombu(_settings.own_redis)

broker_url = _broker.url
broker_use_ssl = _broker.ssl
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A broker that refuses commands (read-only after a failover, or full) counts as unavailable.
broker_channel_error_retry = True
# A task ends its turn when its budget is used up.  One that takes ten times as long hangs; it is killed
# before the broker redelivers its message to another worker.
task_time_limit = max(600, 10 * _settings.task_budget_s)
broker_transport_options = routes.transport_options(
    _settings.broker_url, _settings.key_prefix, visibility_timeout_s=1.2 * task_time_limit
)
task_publish_retry_policy = routes.PUBLISH_RETRY

# No prefix, so that a client in any language finds `celery-task-meta-<id>`.
result_backend = _redis.url
result_backend_transport_options = _redis.transport_options
redis_backend_use_ssl = _redis.ssl
result_expires = 3600
result_backend_always_retry = True
redis_socket_timeout = 5
redis_socket_connect_timeout = 5
redis_socket_keepalive = True

accept_content = ["json"]
result_accept_content = ["json"]
task_serializer = "json"
result_serializer = "json"
timezone = "UTC"
enable_utc = True

# A message is acknowledged after its task has ended.  A task that kills its process is retried at most
# `max_retries` times, then it fails.
task_acks_late = True
task_reject_on_worker_lost = True
task_retry_on_worker_lost = True
# Storing results costs nearly half of the throughput, so only tasks whose callers wait for them store one.
task_ignore_result = True
task_store_errors_even_if_ignored = False
task_default_queue = routes.MAINTENANCE_QUEUE
task_create_missing_queues = False
task_queues = routes.task_queues(_settings.broker_url)
task_routes = {task: {"queue": queue} for task, queue in routes.QUEUE_OF.items()}

# Each process prefetches a few tasks; fetching one only after the last has ended leaves processes idle for a
# third of the time.  A prefetched task waits at most for the time budget of the running one.
worker_prefetch_multiplier = 4
worker_hijack_root_logger = False
worker_cancel_long_running_tasks_on_connection_loss = False
worker_send_task_events = False
worker_soft_shutdown_timeout = _settings.task_budget_s + 15

beat_scheduler = "worker.broker.beat:Scheduler"
beat_max_loop_interval = min(5.0, _settings.scan_interval_s)
# Only shown to people; the scheduler makes its own client.
redbeat_redis_url = urls.shown(_settings.own_redis)
redbeat_redis_options: dict[str, object] = {}
redbeat_key_prefix = _settings.key_prefix + "redbeat:"
redbeat_lock_timeout = 30


def _every(seconds: float, task: str) -> dict[str, object]:
    """Return a beat entry.  Its message expires if no worker takes it within two intervals."""
    return {"task": task, "schedule": seconds, "options": {"expires": max(2 * seconds, 10)}}


beat_schedule = {
    "find": _every(_settings.scan_interval_s, routes.FIND),
    "retention": _every(60.0, routes.FIND_RETENTION),
    "in_use": _every(_settings.in_use_interval_s, routes.LOAD_IN_USE),
    "purges": _every(_settings.purge_interval_s, routes.FIND_PURGES),
    "review": _every(_settings.scan_interval_s, routes.REVIEW),
    "erase": _every(_settings.scan_interval_s, routes.ERASE),
    "reports": _every(max(5.0, _settings.scan_interval_s), routes.REPORTS),
    "webhooks": _every(max(5.0, _settings.scan_interval_s), routes.WEBHOOKS),
    "prune": _every(60.0, routes.PRUNE),
    "sweep": _every(_settings.sweep_interval_s, routes.SWEEP),
}
