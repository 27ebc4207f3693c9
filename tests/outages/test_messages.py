"""Messages twice, ten times, late, out of order, and with nobody to send them: the rows decide."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from model.db.connection import connection, execute, fetch_one
from tests.outages.conftest import Ground
from tests.worker.broker.running import eventually
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


def test_messages_repeated_and_shuffled(ground: Ground) -> None:
    broker = redis.Redis.from_url(ground.servers.broker_url)
    freed = 0
    with ground.system(concurrency=2) as running:
        ground.push("kept", 1, 2)
        for name, change in CHANGES.items():
            ground.push(f"doomed {name}".replace(" ", "-"), 1, 3)
            recorded = record(ground, broker)
            ground.delete(f"doomed {name}".replace(" ", "-"))
            broker.rpush(COLLECT, *change(recorded))
            ground.settle(running)
            freed += 2  # the image's own config, and layer 3
            assert erased(ground) == freed
            broker.rpush(COLLECT, *recorded)  # late: nothing is left to do
            eventually(lambda: not broker.llen(COLLECT), 20, running)
        ground.settle(running)
        ground.pull("kept")
    assert erased(ground) == freed


def record(ground: Ground, broker: redis.Redis) -> list[bytes]:
    """Real messages of a collection, taken from a queue that nobody listens to."""
    with Client(ground.servers.broker_url, key_prefix="recorded:") as client:
        for _ in range(3):
            client.collect(ground.repository_id)
    taken = broker.lrange("recorded:" + routes.COLLECT_QUEUE, 0, -1)
    broker.delete("recorded:" + routes.COLLECT_QUEUE)
    assert len(taken) == 3
    return [bytes(each) for each in taken]  # type: ignore[arg-type]


def erased(ground: Ground) -> int:
    with connection():
        row = fetch_one("SELECT coalesce(sum(objects), 0)::int AS n FROM dredge_collection")
    return int(row.n)


def test_without_a_beat_deletions_are_collected_and_the_rest_when_there_is_one(ground: Ground) -> None:
    nobody_there, prompt = ground.push("nobody-there", 1), ground.push("prompt", 2)
    ground.push("kept", 3)
    ground.delete("nobody-there")
    with connection():
        execute("UPDATE dredge_event SET published_ms = 1")  # as if the message had been lost
    with ground.system(beat=False) as running:
        ground.delete("prompt")
        ground.gone(prompt, running)
    with ground.system() as running:
        ground.gone(nobody_there, running)
        ground.settle(running)
        ground.pull("kept")


def test_two_beats_and_two_workers(ground: Ground) -> None:
    images = [ground.push(f"v{number}", number) for number in range(4)]
    with ground.system() as first, ground.system() as second:
        ground.delete("v0", "v1")
        ground.gone(images[1], first, second)
        first.stop()
        ground.delete("v2")
        ground.gone(images[2], second)
        ground.settle(second)
        ground.pull("v3")
    assert erased(ground) == 6
