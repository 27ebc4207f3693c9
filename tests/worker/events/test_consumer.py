"""The workers' own queue: each event once, bad ones rejected, and what failed for now comes again."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from model.errors import BadInput
from model.gc import poison
from model.gc.poison import list_poison, retry
from tests.support.patience import PATIENCE_S, eventually
from worker.broker.connection import BrokerUnavailable
from worker.events.consumer import EventConsumer
from worker.events.message import CloudEvent
from worker.events.parking import Parking, retry_parked
from worker.events.publisher import Publisher
from worker.local.embedded import EmbeddedServers

pytestmark = pytest.mark.usefixtures("database")


def event(subject: str, **data: Any) -> CloudEvent:
    return {"id": str(uuid.uuid4()), "type": "registry.tag.deleted", "subject": subject, "data": data}


class Recorder:
    """A handler that remembers, and fails as it is told to."""

    def __init__(self) -> None:
        self.handled: list[str] = []
        self.outages = 0

    def __call__(self, events: Sequence[CloudEvent]) -> None:
        if self.outages:
            self.outages -= 1
            raise BrokerUnavailable
        for each in events:
            if each["subject"] == "poison":
                raise BadInput("no")
            if each["subject"] == "nonsense":
                raise KeyError("namespace")
            if each["subject"] == "too large":
                raise OverflowError("cannot convert float infinity to integer")
        self.handled += [each["subject"] for each in events]


@contextmanager
def consuming(url: str, handle: Recorder) -> Iterator[threading.Thread]:
    """A thread that consumes, and starts over after errors, as in a worker."""
    stop = threading.Event()

    def run() -> None:
        consumer = EventConsumer(url, "dredge:", handle, Parking())
        while not stop.is_set():
            try:
                consumer.run(stop)
            except BrokerUnavailable:
                stop.wait(0.1)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_an_event_that_comes_twice_is_handled_once(valkey: str) -> None:
    publisher, handle = Publisher(valkey, "dredge:"), Recorder()
    once, last = event("once"), event("last")
    publisher.publish([once, once])
    with consuming(valkey, handle):
        eventually(lambda: handle.handled)
        publisher.publish([once, last])
        eventually(lambda: "last" in handle.handled)
    assert handle.handled == ["once", "last"]


def test_of_a_flock_that_comes_again_only_the_new_is_handled(valkey: str) -> None:
    publisher, handle = Publisher(valkey, "dredge:"), Recorder()
    first, second, third = event("first"), event("second"), event("third")
    with consuming(valkey, handle):
        publisher.publish([], [first, second])
        eventually(lambda: "second" in handle.handled)
        publisher.publish([], [first, second, third])
        eventually(lambda: "third" in handle.handled)
    assert handle.handled == ["first", "second", "third"]


def test_case_67_poison_is_set_aside_and_takes_nothing_with_it(valkey: str, broker_redis: Any) -> None:
    publisher, handle = Publisher(valkey, "dredge:"), Recorder()
    odd: Any = ["not an event"]
    producer = publisher._ready()
    producer.publish(odd, exchange="registry.events", routing_key="tag.deleted", serializer="json")
    producer.publish(
        b"\xff", exchange="registry.events", routing_key="tag.x", content_type="application/x-odd"
    )
    bad = [event("poison"), event("nonsense"), event("too large")]
    publisher.publish([event("first"), *bad, event("last")])
    with consuming(valkey, handle):
        eventually(lambda: "last" in handle.handled)
        eventually(lambda: not broker_redis.exists("dredge:dredge.events", "dredge:events.unacked"))
    assert handle.handled == ["first", "last"]
    parked = {each.key: each.last_error for each in list_poison(limit=9)}
    assert len(parked) == 5 and {each["id"] for each in bad} < set(parked)
    assert "infinity" in parked[bad[2]["id"]]
    retry("consumer", bad[0]["id"])
    assert retry_parked(handle) == 0, "it still cannot be handled"
    retry("consumer")
    mended: list[CloudEvent] = []
    assert retry_parked(mended.extend) == 3
    assert {each["id"] for each in mended} == {each["id"] for each in bad}
    assert len(list_poison(limit=9)) == 2, "what is no event waits to be looked at"


def test_a_message_that_came_before_is_handled_alone_and_counted_first(valkey: str) -> None:
    """Its last consumer may have been killed by it, and the next one must not be killed for ever."""
    publisher, handle = Publisher(valkey, "dredge:"), Recorder()
    handle.outages = 1
    killer = event("killer")
    publisher.publish([killer, event("fine")])
    poison.attempt("consumer", killer["id"])
    with consuming(valkey, handle):
        eventually(lambda: "fine" in handle.handled)
        publisher.publish([event("last")])
        eventually(lambda: "last" in handle.handled)
    assert "killer" not in handle.handled
    assert [each.key for each in list_poison(limit=9)] == [killer["id"]]


def test_what_could_not_be_handled_for_now_comes_again(valkey: str) -> None:
    publisher, handle = Publisher(valkey, "dredge:"), Recorder()
    handle.outages = 2
    publisher.publish([event("a"), event("b")])
    with consuming(valkey, handle):
        eventually(lambda: set(handle.handled) == {"a", "b"})


def test_the_consumer_survives_its_broker(valkey: str, servers: EmbeddedServers) -> None:
    assert servers.valkey is not None
    publisher, handle = Publisher(valkey, "dredge:"), Recorder()
    with consuming(valkey, handle):
        publisher.publish([event("before")])
        eventually(lambda: handle.handled == ["before"])
        servers.valkey.kill()
        servers.valkey.start()
        publisher.close()
        publisher.publish([event("after")])
        eventually(lambda: handle.handled == ["before", "after"])
