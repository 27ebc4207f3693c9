"""The exchange that every event goes through, and the queues that the workers share."""

from __future__ import annotations

from kombu import Connection, Exchange, Queue

from worker.broker import routes

EXCHANGE = Exchange(routes.EXCHANGE, type="topic", durable=True)
# Two, taken from in turns: a deletion must not wait behind what a collection removed.
OWN_QUEUE = Queue(routes.EVENTS_QUEUE, EXCHANGE, routing_key="tag.#", durable=True)
REMOVALS_QUEUE = Queue(routes.REMOVALS_QUEUE, durable=True)


def connection(url: str, key_prefix: str) -> Connection:
    """A connection that is opened on first use, with the timeouts of `routes.transport_options`.

    What a dead consumer held is delivered again after a minute.  Kept apart from the tasks that
    workers hold: a process that restores one list of such messages would also give back theirs.
    """
    options = {
        **routes.transport_options(key_prefix, visibility_timeout_s=60),
        "unacked_key": "events.unacked",
        "unacked_index_key": "events.unacked_index",
        "unacked_mutex_key": "events.unacked_mutex",
    }
    return Connection(
        routes.kombu_url(url), transport_options={**options, "max_retries": 1, "interval_start": 0}
    )
