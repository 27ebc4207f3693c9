"""Messages twice, ten times, late, out of order, and with nobody to send them: the rows decide."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from model.db.connection import connection, execute, fetch_one
from tests.outages.conftest import OutageServers
from tests.support.patience import eventually
from worker.broker import routes
from worker.client import Client

pytestmark = pytest.mark.slow

COLLECT, OBJECTS = "dredge:" + routes.COLLECT_QUEUE, "dredge:" + routes.OBJECTS_QUEUE
Change = Callable[[list[bytes]], list[bytes]]
CHANGES: dict[str, Change] = {
    "twice": lambda messages: messages * 2,
    "ten times": lambda messages: [each for each in messages for _ in range(10)],
    "out of order": lambda messages: messages[::-1] + messages,
}


def test_messages_repeated_and_shuffled(outage_servers: OutageServers) -> None:
    broker = redis.Redis.from_url(outage_servers.servers.broker_url)
    freed = 0
    with outage_servers.system(concurrency=2) as running:
        outage_servers.push("kept", 1, 2)
        for name, change in CHANGES.items():
            outage_servers.push(f"doomed {name}".replace(" ", "-"), 1, 3)
            recorded = record(outage_servers, broker)
            outage_servers.delete(f"doomed {name}".replace(" ", "-"))
            broker.rpush(COLLECT, *change(recorded))
            outage_servers.settle(running)
            freed += 2  # the image's own config, and layer 3
            assert erased(outage_servers) == freed
            broker.rpush(COLLECT, *recorded)  # late: nothing is left to do
            eventually(lambda: not broker.llen(COLLECT), running)
        outage_servers.settle(running)
        outage_servers.pull("kept")
    assert erased(outage_servers) == freed


def record(outage_servers: OutageServers, broker: redis.Redis) -> list[bytes]:
    """Real messages of a collection, taken from a queue that nobody listens to."""
    with Client(outage_servers.servers.broker_url, key_prefix="recorded:") as client:
        for _ in range(3):
            client.collect(outage_servers.repository_id)
    taken = broker.lrange("recorded:" + routes.COLLECT_QUEUE, 0, -1)
    broker.delete("recorded:" + routes.COLLECT_QUEUE)
    assert len(taken) == 3
    return [bytes(each) for each in taken]  # type: ignore[arg-type]


def erased(outage_servers: OutageServers) -> int:
    with connection():
        row = fetch_one("SELECT coalesce(sum(objects), 0)::int AS n FROM dredge_collection")
    return int(row.n)


def test_without_a_beat_deletions_are_collected_and_the_rest_when_there_is_one(
    outage_servers: OutageServers,
) -> None:
    nobody_there, prompt = outage_servers.push("nobody-there", 1), outage_servers.push("prompt", 2)
    outage_servers.push("kept", 3)
    outage_servers.delete("nobody-there")
    with connection():
        execute("UPDATE dredge_event SET published_ms = 1")  # as if the message had been lost
    with outage_servers.system(beat=False) as running:
        outage_servers.delete("prompt")
        outage_servers.gone(prompt, running)
    with outage_servers.system() as running:
        outage_servers.gone(nobody_there, running)
        outage_servers.settle(running)
        outage_servers.pull("kept")


def test_two_beats_and_two_workers(outage_servers: OutageServers) -> None:
    images = [outage_servers.push(f"v{number}", number) for number in range(4)]
    with outage_servers.system() as first, outage_servers.system() as second:
        outage_servers.delete("v0", "v1")
        outage_servers.gone(images[1], first, second)
        first.stop()
        outage_servers.delete("v2")
        outage_servers.gone(images[2], second)
        outage_servers.settle(second)
        outage_servers.pull("v3")
    assert erased(outage_servers) == 6
