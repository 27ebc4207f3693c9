"""Take events from the workers' own queues in small batches, and drop duplicates."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from kombu import Connection, Consumer
from kombu.message import Message

from model.errors import RegistryError
from worker import logs
from worker.broker import kombu_patch
from worker.broker.connection import OUTAGE, connect, open_channel
from worker.broker.refusals import explain
from worker.events.exchange import OWN_QUEUE, REMOVALS_QUEUE, connection
from worker.events.message import CloudEvent, is_event

log = logs.logger("dredge.consumer")

BATCH = 200
IDLE_S = 0.5
SEEN_MS = 3_600_000

Handler = Callable[[Sequence[CloudEvent]], None]


class Parking(Protocol):
    """Stores messages that cannot be handled; see `worker.events.parking`."""

    def attempt(self, event: CloudEvent, handle: Handler) -> None: ...
    def park(self, body: object, error: str) -> None: ...


class EventConsumer:
    """Calls `handle` with batches of new events.

    Drops duplicates by ID.  Sets aside and acknowledges a message that is not an event, or for which `handle`
    raises; after a `retryable` error the whole batch is redelivered.  A redelivered message may have killed
    the process that held it, so its events are handled alone, and each attempt is counted first.
    """

    def __init__(
        self, url: str, key_prefix: str, handle: Handler, parking: Parking, *, redis_url: str = ""
    ) -> None:
        """Use the Redis at `redis_url` to remember event IDs; without it, the broker's Redis."""
        self._url = url
        self._prefix = key_prefix
        self._handle = handle
        self._parking = parking
        self._redis = connect(redis_url or url)
        self._waiting: list[tuple[list[CloudEvent], Message]] = []
        # Without it, a message that arrives while the connection closes is lost.
        kombu_patch.install()

    def run(self, stop: threading.Event) -> None:
        """Consume until `stop` is set.

        Raises `BrokerUnavailable`, or the error of `handle`.  Messages that were not acknowledged return to
        the queue, and `run` may be called again.
        """
        self._waiting.clear()
        link = connection(self._url, self._prefix)
        try:
            with Consumer(
                open_channel(link),
                queues=[OWN_QUEUE, REMOVALS_QUEUE],
                callbacks=[self._receive],
                accept=["json"],
                prefetch_count=BATCH,
                on_decode_error=self._reject,
            ):
                while not stop.is_set():
                    self._drain(link)
        except OUTAGE as error:
            raise explain(error, "DREDGE_BROKER_URL") from error
        finally:
            with suppress(*OUTAGE):
                link.release()

    def _drain(self, link: Connection) -> None:
        """Wait for one message, then take others that already wait, at most a batch."""
        timeout = IDLE_S
        with suppress(socket.timeout):
            while len(self._waiting) < BATCH:
                link.drain_events(timeout=timeout)
                timeout = 0.002
        if self._waiting:
            batch, self._waiting = self._waiting, []
            self._deal_with(batch)

    def _receive(self, body: Any, message: Message) -> None:
        events: list[CloudEvent] = body if isinstance(body, list) else [body]
        if events and all(map(is_event, events)):
            self._waiting.append((events, message))
        else:
            self._reject(message, ValueError("not a CloudEvent"))

    def _deal_with(self, batch: list[tuple[list[CloudEvent], Message]]) -> None:
        events = [event for carried, _ in batch for event in carried]
        came_before = {e["id"] for carried, message in batch if _came_before(message) for e in carried}
        seen = self._redis.mget([self._key(event) for event in events])
        fresh = {event["id"]: event for event, known in zip(events, seen, strict=True) if not known}
        self._handle_each([event for event in fresh.values() if event["id"] not in came_before])
        for event in fresh.values():
            if event["id"] in came_before:
                self._parking.attempt(event, self._handle)
        self._remember(fresh.values())
        for _, message in batch:
            message.ack()

    def _handle_each(self, events: list[CloudEvent]) -> None:
        """Handle all events at once, or each alone if that fails, so that one does not stop the others."""
        try:
            if events:
                self._handle(events)
        except OUTAGE:
            raise
        except Exception as error:
            if isinstance(error, RegistryError) and error.retryable:
                raise
            log.info("batch.divided", events=len(events), error=repr(error))
            for event in events:
                self._parking.attempt(event, self._handle)

    def _remember(self, events: Iterable[CloudEvent]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.set(self._key(event), 1, px=SEEN_MS)
            pipe.execute()

    def _key(self, event: CloudEvent) -> str:
        return f"{self._prefix}seen:{event['id']}"

    def _reject(self, message: Message, error: Exception) -> None:
        self._parking.park(message.body, str(error))
        message.reject()


def _came_before(message: Message) -> bool:
    return bool((message.delivery_info or {}).get("redelivered"))
