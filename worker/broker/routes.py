"""The names of tasks and queues, which other programs rely on, and the broker's transport options."""

from __future__ import annotations

from typing import Any

from kombu import Exchange, Queue

from worker.broker import urls

COLLECT_QUEUE = "dredge.collect"
OBJECTS_QUEUE = "dredge.objects"
TAGS_QUEUE = "dredge.tags"
MAINTENANCE_QUEUE = "dredge.maintenance"

FIND = "worker.tasks.find_repositories_with_garbage"
COLLECT = "worker.tasks.garbage_collect_repo"
REVIEW = "worker.tasks.review_blobs"
ERASE = "worker.tasks.erase_objects"
REPORTS = "worker.tasks.deliver_reports"
WEBHOOKS = "worker.tasks.deliver_webhooks"
PRUNE = "worker.tasks.prune"
SWEEP = "worker.tasks.sweep_untraced"
FIND_PURGES = "worker.tasks.find_purges"
PURGE_REPOSITORY = "worker.tasks.purge_repository"
PURGE_NAMESPACE = "worker.tasks.purge_namespace"
FIND_RETENTION = "worker.tasks.find_retention"
RETAIN = "worker.tasks.retain_repository"
LOAD_IN_USE = "worker.tasks.load_in_use"
DELETE_TAG = "worker.tasks.delete_tag"
DELETE_TAG_PERMANENTLY = "worker.tasks.delete_tag_permanently"
RESTORE_TAG = "worker.tasks.restore_tag"
DELETE_REPOSITORY = "worker.tasks.delete_repository"
RESTORE_REPOSITORY = "worker.tasks.restore_repository"
DELETE_NAMESPACE = "worker.tasks.delete_namespace"
RESTORE_NAMESPACE = "worker.tasks.restore_namespace"

QUEUE_OF = {
    FIND: MAINTENANCE_QUEUE,
    PRUNE: MAINTENANCE_QUEUE,
    SWEEP: MAINTENANCE_QUEUE,
    FIND_PURGES: MAINTENANCE_QUEUE,
    FIND_RETENTION: MAINTENANCE_QUEUE,
    LOAD_IN_USE: MAINTENANCE_QUEUE,
    RETAIN: TAGS_QUEUE,
    COLLECT: COLLECT_QUEUE,
    # Served in turns with the collections, so that a large purge does not delay them.
    PURGE_REPOSITORY: COLLECT_QUEUE,
    PURGE_NAMESPACE: COLLECT_QUEUE,
    REVIEW: OBJECTS_QUEUE,
    ERASE: OBJECTS_QUEUE,
    REPORTS: OBJECTS_QUEUE,
    WEBHOOKS: OBJECTS_QUEUE,
    DELETE_TAG: TAGS_QUEUE,
    DELETE_TAG_PERMANENTLY: TAGS_QUEUE,
    RESTORE_TAG: TAGS_QUEUE,
    DELETE_REPOSITORY: TAGS_QUEUE,
    RESTORE_REPOSITORY: TAGS_QUEUE,
    DELETE_NAMESPACE: TAGS_QUEUE,
    RESTORE_NAMESPACE: TAGS_QUEUE,
}

# Tasks whose first argument is a repository, and tasks whose first three are namespace, repository and tag.
OF_A_REPOSITORY = (COLLECT, PURGE_REPOSITORY, RETAIN)
OF_A_TAG = (DELETE_TAG, DELETE_TAG_PERMANENTLY, RESTORE_TAG)

EXCHANGE = "registry.events"
EVENTS_QUEUE = "dredge.events"
REMOVALS_QUEUE = "dredge.removals"

# A publisher fails within a second or two if the broker is unavailable, not after a minute of retries.
PUBLISH_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}


# RabbitMQ's quorum queues survive the loss of a node.  Redis ignores this argument.
QUORUM = {"x-queue-type": "quorum"}


def task_queues(broker_url: str) -> list[Queue]:
    """Return every queue of tasks.  Each has a routing key of its own.

    On RabbitMQ they share a topic exchange, because delayed delivery needs one.
    """
    exchange = Exchange("dredge.tasks", type="topic" if urls.is_amqp(broker_url) else "direct")
    names = sorted(set(QUEUE_OF.values()))
    return [Queue(name, exchange, routing_key=name, queue_arguments=QUORUM) for name in names]


def transport_options(
    broker_url: str, key_prefix: str, *, visibility_timeout_s: float = 600
) -> dict[str, Any]:
    """Return kombu's options for the broker: the key prefix, timeouts, and redelivery.

    Redis redelivers an unacknowledged message after `visibility_timeout_s`, also if its worker is alive but
    slow, so every task must take much less time.  RabbitMQ redelivers messages when a connection ends, and
    confirms each message that it has stored.
    """
    if urls.is_amqp(broker_url):
        return {"confirm_publish": True}
    return {
        **urls.for_kombu(broker_url).transport_options,
        "global_keyprefix": key_prefix,
        "visibility_timeout": visibility_timeout_s,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "client_name": "dredge",
    }
