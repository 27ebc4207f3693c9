"""Publish to the topic exchange in batches, and detect that the broker was flushed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

from kombu import Connection, Producer, Queue

from worker.broker import routes
from worker.broker.connection import OUTAGE, open_channel
from worker.broker.refusals import explain
from worker.broker.urls import TIMEOUT_S, is_amqp
from worker.events.exchange import EXCHANGE, OWN_QUEUE, REMOVALS_QUEUE, connection
from worker.events.message import CloudEvent, routing_key
from worker.events.trace import trace_in


class Publisher:
    """A connection to the exchange.  Raises `BrokerUnavailable` for every error of the broker."""

    def __init__(self, url: str, key_prefix: str) -> None:
        self._url = url
        self._prefix = key_prefix
        self._trace = trace_in(url, key_prefix)
        self._connection: Connection | None = None
        self._producer: Producer | None = None
        self._bindings: set[tuple[str, str]] = set()

    def publish(self, events: Iterable[CloudEvent], removals: Iterable[CloudEvent] = ()) -> int:
        """Send the events in order, each to every queue bound to its type.  Returns how many were sent.

        Sends `removals` only to the workers, in one message.  After an error some may have been sent already:
        send all again.
        """
        sent = 0
        try:
            producer = self._ready()
            with _bindings_read_once(producer.channel) as bound, producer.batch(max_size=500):
                for event in events:
                    key = routing_key(event)
                    if bound(key):
                        _send(producer, event, EXCHANGE.name, key)
                    sent += 1
                if burst := list(removals):
                    _send(producer, burst, "", routes.REMOVALS_QUEUE)
        except OUTAGE as error:
            self.close()
            raise explain(error, "DREDGE_BROKER_URL") from error
        return sent

    def broker_was_flushed(self) -> bool:
        """Return whether the broker lacks the trace of `mark_epoch`: it is new, or was flushed."""
        try:
            forgot = not self._trace.exists(self._ready().connection)
            if not forgot:
                self._learn_bindings()
        except OUTAGE as error:
            self.close()
            raise explain(error, "DREDGE_BROKER_URL") from error
        return forgot

    def restore_bindings(self) -> None:
        """Bind the workers' queues again, and every other queue that this process has seen bound.

        A live consumer does not do so after a flush, because kombu declares a queue only once.
        """
        self.close()
        try:
            channel = self._ready().channel
            for queue, key in sorted(self._bindings):
                Queue(queue, EXCHANGE, routing_key=key, channel=channel).queue_bind()
        except OUTAGE as error:
            self.close()
            raise explain(error, "DREDGE_BROKER_URL") from error

    def mark_epoch(self) -> None:
        """Write the trace that `broker_was_flushed` reads."""
        try:
            self._trace.leave(self._ready().connection)
        except OUTAGE as error:
            raise explain(error, "DREDGE_BROKER_URL") from error

    def close(self) -> None:
        """Close the connection; the next call opens a new one and declares the queues again."""
        self._producer = None
        dropped, self._connection = self._connection, None
        if dropped is not None:
            with suppress(*OUTAGE):
                dropped.release()

    def _ready(self) -> Producer:
        if self._producer is None:
            self._connection = connection(self._url, self._prefix)
            channel = open_channel(self._connection)
            # Declares the queue, too, because an exchange drops messages while no queue is bound.
            for queue in (OWN_QUEUE, REMOVALS_QUEUE):
                queue(channel).declare()
            self._producer = Producer(channel, auto_declare=False)
        return self._producer

    def _learn_bindings(self) -> None:
        if is_amqp(self._url):
            return  # RabbitMQ keeps bindings itself; the owner of a lost queue declares it again.
        table: list[Any] = self._ready().channel.get_table(routes.EXCHANGE)
        self._bindings |= {(queue, key) for key, _, queue in table}


def _send(producer: Producer, body: CloudEvent | list[CloudEvent], exchange: str, key: str) -> None:
    producer.publish(
        body,
        exchange=exchange,
        routing_key=key,
        serializer="json",
        delivery_mode=2,
        timeout=TIMEOUT_S,
        confirm_timeout=TIMEOUT_S,
    )


@contextmanager
def _bindings_read_once(channel: Any) -> Iterator[Callable[[str], bool]]:
    """Read the exchange's bindings once per batch; on Redis kombu reads them for every message.

    That is five times as fast.  A queue that is bound during a batch receives the next batch.  Yields a
    function that tells whether a queue is bound to a key; events without one need not be encoded.
    """
    if not hasattr(channel, "get_table"):
        yield lambda key: True
        return
    table = channel.get_table(EXCHANGE.name)
    kind = channel.typeof(EXCHANGE.name)
    channel.get_table = lambda exchange: table
    try:
        yield cache(lambda key: bool(kind.lookup(table, EXCHANGE.name, key, None)))
    finally:
        del channel.get_table
