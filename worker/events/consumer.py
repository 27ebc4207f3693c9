"""Takes events from the workers' own queues, in small batches, each event once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from kombu import Connection, Consumer
from kombu.message import Message

from model.errors import RegistryError
from worker import logs
from worker.broker.connection import OUTAGE, BrokerUnavailable, connect
from worker.events.exchange import OWN_QUEUE, REMOVALS_QUEUE, connection
from worker.events.message import CloudEvent

log = logs.logger("dredge.consumer")

BATCH = 200
IDLE_S = 0.5
SEEN_MS = 3_600_000

Handler = Callable[[Sequence[CloudEvent]], None]


class EventConsumer:
    """Hands batches of new events to `handle`.

    Duplicates are dropped by id.  What is not an event, or makes `handle` raise, is logged and
    rejected; after an error with `retryable` the whole batch comes again.
    """

    def __init__(self, url: str, key_prefix: str, handle: Handler, *, redis_url: str = "") -> None:
        """`redis_url` is the Redis that remembers the ids, where the broker is none."""
        self._url = url
        self._prefix = key_prefix
        self._handle = handle
        self._redis = connect(redis_url or url)
        self._waiting: list[tuple[list[CloudEvent], Message]] = []

    def run(self, stop: threading.Event) -> None:
        """Consume until `stop`.

        Raises `BrokerUnavailable` or what `handle` raised; what was not acknowledged goes back to
        the queue, and `run` may be called again.
        """
        self._waiting.clear()
        link = connection(self._url, self._prefix)
        try:
            with Consumer(
                link.channel(),
                queues=[OWN_QUEUE, REMOVALS_QUEUE],
                callbacks=[self._receive],
                accept=["json"],
                prefetch_count=BATCH,
                on_decode_error=_reject,
            ):
                while not stop.is_set():
                    self._drain(link)
        except OUTAGE as error:
            raise BrokerUnavailable(f"The broker did not answer: {error}") from error
        finally:
            with suppress(*OUTAGE):
                link.release()

    def _drain(self, link: Connection) -> None:
        """Wait for one message, then take those that are there already, up to a batch."""
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
        if events and all(map(_is_event, events)):
            self._waiting.append((events, message))
        else:
            _reject(message, ValueError("not a CloudEvent"))

    def _deal_with(self, batch: list[tuple[list[CloudEvent], Message]]) -> None:
        events = [event for carried, _ in batch for event in carried]
        seen = self._redis.mget([self._key(event) for event in events])
        fresh = {event["id"]: event for event, known in zip(events, seen, strict=True) if not known}
        self._handle_each(list(fresh.values()))
        self._remember(fresh.values())
        for _, message in batch:
            message.ack()

    def _handle_each(self, events: list[CloudEvent]) -> None:
        """All at once; if one of them cannot be handled, it must not take the others with it."""
        try:
            if events:
                self._handle(events)
        except RegistryError as error:
            if error.retryable:
                raise
            self._one_by_one(events, error)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            self._one_by_one(events, error)

    def _one_by_one(self, events: list[CloudEvent], error: Exception) -> None:
        if len(events) > 1:
            for event in events:
                self._handle_each([event])
        else:
            log.error("event.rejected", id=events[0]["id"], type=events[0].get("type"), error=repr(error))

    def _remember(self, events: Iterable[CloudEvent]) -> None:
        with self._redis.pipeline(transaction=False) as pipe:
            for event in events:
                pipe.set(self._key(event), 1, px=SEEN_MS)
            pipe.execute()

    def _key(self, event: CloudEvent) -> str:
        return f"{self._prefix}seen:{event['id']}"


def _is_event(body: object) -> bool:
    return isinstance(body, dict) and isinstance(body.get("id"), str) and isinstance(body.get("data"), dict)


def _reject(message: Message, error: Exception) -> None:
    log.error("event.rejected", error=str(error), body=str(message.body)[:200])
    message.reject()
