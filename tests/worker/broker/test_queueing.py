"""What waits is enqueued once, in order; a lost message is found again; an outage loses nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from worker.broker import connection as broker_module
from worker.broker import routes
from worker.broker.connection import BrokerUnavailable
from worker.broker.task_queue import CeleryQueue
from worker.local.embedded import EmbeddedServers

WAITING = "dredge:" + routes.COLLECT_QUEUE


@pytest.fixture
def app(valkey: str) -> Iterator[Celery]:
    made = Celery("test", broker=valkey, set_as_current=False)
    made.conf.update(
        broker_transport_options=routes.transport_options(valkey, "dredge:"),
        task_queues=routes.task_queues(valkey),
        task_routes={task: {"queue": queue} for task, queue in routes.QUEUE_OF.items()},
        task_publish_retry_policy=routes.PUBLISH_RETRY,
    )
    yield made
    made.close()


@pytest.fixture
def queue(app: Celery, valkey: str) -> CeleryQueue:
    return CeleryQueue(app, broker_module.connect(valkey), prefix="dredge:", believed_ms=60_000)


def impatient(app: Celery, valkey: str) -> CeleryQueue:
    """A queue that believes no mark for longer than it must."""
    return CeleryQueue(app, broker_module.connect(valkey), prefix="dredge:", believed_ms=-1)


def arguments(raw: str) -> list[Any]:
    positional: list[Any] = json.loads(base64.b64decode(json.loads(raw)["body"]))[0]
    return positional


def served(broker: Any) -> list[int]:
    """The waiting collections in the order in which they are served."""
    return [arguments(raw)[0] for raw in reversed(broker.lrange(WAITING, 0, -1))]


def test_repositories_wait_in_the_order_in_which_they_were_enqueued(queue: CeleryQueue, broker: Any) -> None:
    wanted = [5, 3, 9, *range(100, 2500), 1]
    assert queue.collect(wanted) == len(wanted)
    assert served(broker) == wanted


def test_one_that_waits_is_not_enqueued_again_until_it_has_started(queue: CeleryQueue, broker: Any) -> None:
    assert queue.collect([1, 2, 2]) == 2
    assert queue.collect([1, 2, 3]) == 1
    queue.started(2)
    assert queue.collect([1, 2, 3]) == 1
    assert served(broker) == [1, 2, 3, 2]


def test_a_message_that_got_lost_is_enqueued_again_and_one_that_waits_is_not(
    queue: CeleryQueue, app: Celery, broker: Any, valkey: str
) -> None:
    queue.collect([1])
    broker.rpop(WAITING)
    assert queue.collect([1]) == 0, "it is believed for two scans"
    assert impatient(app, valkey).collect([1]) == 1, "the queue is empty: it must have been lost"
    assert impatient(app, valkey).collect([1]) == 0, "it waits, however long that takes"
    assert served(broker) == [1]


def test_a_lost_message_is_noticed_behind_a_queue_that_never_empties(
    app: Celery, broker: Any, valkey: str
) -> None:
    queue = impatient(app, valkey)
    queue.collect([1])
    broker.rpop(WAITING)
    broker.set("dredge:queued:1", 1)
    queue.collect([2])
    assert queue.collect([1, 2]) == 1
    assert served(broker) == [2, 1]


def test_a_strangers_message_at_the_head_of_the_queue_is_no_obstacle(
    queue: CeleryQueue, app: Celery, broker: Any, valkey: str
) -> None:
    queue.collect([1])
    broker.rpush(WAITING, "not even JSON", "[]")
    assert impatient(app, valkey).collect([1, 2]) == 1


def test_stages_wait_once_each(queue: CeleryQueue, broker: Any) -> None:
    for _ in range(3):
        queue.review()
        queue.erase()
        queue.reports()
    assert broker.llen("dredge:" + routes.OBJECTS_QUEUE) == 3


def test_without_the_broker_a_scan_gives_up_and_nothing_counts_as_enqueued(
    queue: CeleryQueue, broker: Any, servers: EmbeddedServers
) -> None:
    assert servers.valkey is not None
    queue.collect([1])
    servers.valkey.kill()
    with pytest.raises(BrokerUnavailable):
        queue.collect([1, 2])
    queue.review()
    queue.started(1)
    servers.valkey.start()
    assert queue.collect([1, 2]) == 2
