"""The exchange of all events, and the event queues that the workers share."""

from __future__ import annotations

from kombu import Connection, Exchange, Queue

from worker.broker import routes, urls
from worker.broker.connection import ONCE_MORE

EXCHANGE = Exchange(routes.EXCHANGE, type="topic", durable=True)
# Two queues, served in turns, so that a user's deletion does not wait behind the removals of a collection.
OWN_QUEUE = Queue(
    routes.EVENTS_QUEUE, EXCHANGE, routing_key="tag.#", durable=True, queue_arguments=routes.QUORUM
)
REMOVALS_QUEUE = Queue(routes.REMOVALS_QUEUE, durable=True, queue_arguments=routes.QUORUM)


_OWN_LIST = {
    "unacked_key": "events.unacked",
    "unacked_index_key": "events.unacked_index",
    "unacked_mutex_key": "events.unacked_mutex",
    **ONCE_MORE,
}


def connection(url: str, key_prefix: str) -> Connection:
    """Return a connection that opens on first use, with the timeouts of `routes.transport_options`.

    Messages that a dead consumer held are redelivered after a minute.  They are kept apart from the tasks
    that workers hold: otherwise a process that redelivers messages would redeliver those tasks, too.
    """
    found = urls.for_kombu(url)
    options = routes.transport_options(url, key_prefix, visibility_timeout_s=60)
    if not urls.is_amqp(url):
        options |= _OWN_LIST
    return Connection(found.url, ssl=found.ssl or False, transport_options=options)
