"""From the outbox to the exchange: in order, at least once, never what was rolled back."""

from __future__ import annotations

import json
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest
from kombu import Queue

from model.db import connection as database_connection
from model.db.connection import connection, transaction
from model.errors import DatabaseUnavailable, RegistryError
from model.events import outbox
from model.events import record as events
from model.gc.failing import NO_END
from model.gc.poison import count_batch_failures, list_poison, retry
from tests.support.patience import PATIENCE_S
from tests.support.world import World
from worker.broker.connection import BrokerUnavailable
from worker.events import relay as relay_module
from worker.events.exchange import EXCHANGE
from worker.events.exchange import connection as broker_connection
from worker.events.publisher import Publisher
from worker.events.relay import Relayed, relay, republish_after_flush
from worker.local.embedded import EmbeddedServers


@pytest.fixture
def publisher(valkey: str) -> Iterator[Publisher]:
    made = Publisher(valkey, "dredge:")
    heal_once(made)
    yield made
    made.close()


def heal_once(publisher: Publisher) -> None:
    publisher.restore_bindings()
    publisher.mark_epoch()


def record(*names: str, repository_id: int = 1) -> None:
    with transaction():
        for name in names:
            events.record(
                events.TAG_DELETED, subject=name, data={"n": name}, now_ms=1000, repository_id=repository_id
            )


def relay_all(publisher: Publisher) -> int:
    step = relay(publisher)
    sent = step.events
    while step.has_more:
        step = relay(publisher)
        sent += step.events
    return sent


def arrived(valkey: str, queue: str = "dredge.events") -> list[str]:
    """The subjects that wait in a queue, in order; they are taken out."""
    subjects: list[str] = []
    with broker_connection(valkey, "dredge:") as link:
        simple = link.SimpleQueue(Queue(queue, EXCHANGE, routing_key="#"))
        while True:
            try:
                message = simple.get(block=False)
            except simple.Empty:
                return subjects
            subjects.append(message.payload["subject"])
            message.ack()


def test_events_arrive_in_the_order_of_their_changes_and_once(
    database: str, valkey: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.events.relay.BATCH_ROWS", 100)
    names = [f"tag{n}" for n in range(250)]
    record(*names)
    assert relay_all(publisher) == 250
    assert arrived(valkey) == names
    assert relay_all(publisher) == 0
    assert outbox.count_unpublished() == 0


def test_a_change_that_was_rolled_back_is_never_told(
    database: str, valkey: str, publisher: Publisher
) -> None:
    with pytest.raises(RuntimeError), transaction():
        record("undone")
        raise RuntimeError
    record("done")
    relay_all(publisher)
    assert arrived(valkey) == ["done"]


def test_a_change_that_is_not_committed_yet_is_told_later(
    database: str, valkey: str, publisher: Publisher, world: World
) -> None:
    world.execute("BEGIN")
    world.insert(
        "dredge_event",
        event_id="0" * 36,
        type="registry.tag.deleted",
        subject="slow",
        data="{}",
        created_ms=1,
    )
    record("quick")
    relay_all(publisher)
    world.execute("COMMIT")
    relay_all(publisher)
    assert arrived(valkey) == ["quick", "slow"]


def test_while_one_relay_is_at_work_another_does_nothing(
    database: str, valkey: str, publisher: Publisher
) -> None:
    record("once")
    inside, done = threading.Event(), threading.Event()

    class Slow(Publisher):
        def publish(self, events: Any, removals: Any = ()) -> int:
            inside.set()
            done.wait(PATIENCE_S)
            return super().publish(events, removals)

    def slowly() -> None:
        with connection():
            relay(Slow(valkey, "dredge:"))

    first = threading.Thread(target=slowly)
    first.start()
    assert inside.wait(PATIENCE_S)
    assert relay(publisher).events == 0
    done.set()
    first.join()
    assert arrived(valkey) == ["once"]


def test_a_relay_that_another_has_overtaken_counts_no_attempt(
    database: str, valkey: str, publisher: Publisher, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(*(str(n) for n in range(9)))
    tried = iter((True, False))
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "try_relay_lock", lambda: next(tried))
        assert relay(publisher) == Relayed()
    assert world.rows("SELECT key FROM dredge_poison") == [] and count_batch_failures("relay") == 0
    assert world.value("SELECT count(*) FROM dredge_event WHERE published_ms IS NULL") == 9
    assert relay(publisher).rows == 9 and len(arrived(valkey)) == 9


def test_a_crash_between_publishing_and_marking_repeats_the_events_with_their_ids(
    database: str, valkey: str, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    record("a", "b")
    with monkeypatch.context() as patched:
        patched.setattr(outbox, "mark_published", lambda *args, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            relay(publisher)
    relay_all(publisher)
    assert arrived(valkey) == ["a", "b", "a", "b"]


def test_without_the_broker_nothing_is_marked_and_everything_comes_later(
    database: str, valkey: str, publisher: Publisher, servers: EmbeddedServers
) -> None:
    assert servers.valkey is not None
    record("patient")
    servers.valkey.kill()
    with pytest.raises(BrokerUnavailable):
        relay(publisher)
    assert outbox.count_unpublished() == 1
    servers.valkey.start()
    relay_all(publisher)
    assert arrived(valkey) == ["patient"]


def test_an_event_does_not_wait_because_the_database_was_away_again_and_again(
    database: str, valkey: str, publisher: Publisher, servers: EmbeddedServers
) -> None:
    name = database.rpartition("/")[2]
    admin = psycopg2.connect(servers.database_url.rpartition("/")[0] + "/postgres")
    admin.autocommit = True

    class Outage(Publisher):
        def publish(self, events: Any, removals: Any = ()) -> int:
            with admin.cursor() as cursor:
                cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
                )
            return 0

    record("patient", "bystander")
    for _ in range(6):
        with pytest.raises(RegistryError):
            relay(Outage(valkey, "dredge:"))
        with admin.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    admin.close()
    assert relay_all(publisher) == 2 and arrived(valkey) == ["patient", "bystander"]
    assert (outbox.count_unpublished(), list_poison(limit=5), count_batch_failures("relay")) == (0, [], 0)


def test_after_a_flush_every_queue_is_bound_again_and_gets_what_is_still_kept(
    database: str, valkey: str, publisher: Publisher, broker_redis: Any
) -> None:
    with broker_connection(valkey, "dredge:") as link:
        Queue("audit", EXCHANGE, routing_key="tag.*", channel=link.channel()).declare()
    record("before")
    assert republish_after_flush(publisher) == 0
    relay_all(publisher)
    broker_redis.flushall()
    record("after")
    assert republish_after_flush(publisher) == 1
    assert republish_after_flush(publisher) == 0
    relay_all(publisher)
    assert arrived(valkey, "audit") == ["before", "after"]
    assert arrived(valkey) == ["before", "after"]


def test_a_queue_hears_only_the_types_that_it_is_bound_to(
    database: str, valkey: str, publisher: Publisher
) -> None:
    with broker_connection(valkey, "dredge:") as link:
        Queue("blobs", EXCHANGE, routing_key="blob.#", channel=link.channel()).declare()
    record("a tag")
    with transaction():
        events.record(events.BLOB_ERASED, subject="x", data={"items": [{"subject": "a blob"}]}, now_ms=1)
    relay_all(publisher)
    assert arrived(valkey, "blobs") == ["a blob"]


def test_the_workers_hear_of_a_flock_of_collections_in_one_message(
    database: str, valkey: str, publisher: Publisher, broker_redis: Any
) -> None:
    for _ in range(3):
        with transaction():
            items = [{"subject": str(n), "digest": str(n), "referred": None} for n in range(500)]
            events.record(events.MANIFEST_COLLECTED, subject="x", data={"items": items}, now_ms=1)
    assert relay(publisher).events == 1500
    assert broker_redis.llen("dredge:dredge.removals") == 1
    assert broker_redis.llen("dredge:dredge.events") == 0


BAD_DATA = ["{broken", "5", "null", "[]", '{"ended_ms": 1e999}', '{"ended_ms": NaN}', '{"items": 5}']


@pytest.mark.parametrize("data", BAD_DATA)
def test_case_67_a_row_that_cannot_be_published_is_set_aside_and_the_others_go_on(
    database: str, valkey: str, publisher: Publisher, world: World, data: str
) -> None:
    row = world.insert(
        "dredge_event", event_id=str(uuid.uuid4()), type="x", subject="x", data=data, created_ms=1
    )
    record("fine")
    relay_all(publisher)
    assert arrived(valkey) == ["fine"]
    (poisoned,) = list_poison(limit=5)
    assert (poisoned.stage, poisoned.key, poisoned.tries) == ("relay", str(row), 1)
    assert relay_all(publisher) == 0 and list_poison(limit=5) == [poisoned], "it backs off, and is not lost"
    world.execute("UPDATE dredge_event SET data = '{}' WHERE id = %s", (row,))
    assert retry("relay") == 1 and relay_all(publisher) == 1
    assert arrived(valkey) == ["x"] and not list_poison(limit=5)


def test_a_message_that_the_broker_client_refuses_stops_no_other(
    database: str, valkey: str, publisher: Publisher
) -> None:
    class Refusing(Publisher):
        def publish(self, events: Any, removals: Any = ()) -> int:
            if any(event["subject"] == "refused" for event in events):
                raise ValueError("cannot be encoded")
            return super().publish(events, removals)

    refusing = Refusing(valkey, "dredge:")
    record("first", "refused", "last")
    relay_all(refusing)
    refusing.close()
    assert arrived(valkey) == ["first", "last"]
    assert [each.last_error for each in list_poison(limit=5)] == ["ValueError: cannot be encoded"]


def publish_and_die(world: World, valkey: str, subject: str) -> None:
    """Relay in a process of its own, which this event kills before the broker has any of its batch."""

    class Deadly(Publisher):
        def publish(self, events: Any, removals: Any = ()) -> int:
            found = list(events)
            if any(event["subject"] == subject for event in found):
                os.kill(os.getpid(), signal.SIGKILL)
            return super().publish(found, removals)

    pid = os.fork()
    if not pid:
        try:
            database_connection.disown()
            database_connection.configure(world.url)
            relay_all(Deadly(valkey, "dredge:"))
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_case_67_an_event_that_kills_its_relay_is_set_aside_and_the_others_go_on(
    database: str, valkey: str, publisher: Publisher, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "BATCH_ROWS", 64)
    names = [str(n) for n in range(100)]
    record(*names)
    publish_and_die(world, valkey, "43")
    assert not arrived(valkey) and not list_poison(limit=5), "nobody knows which of the 64 it was"
    publish_and_die(world, valkey, "43")
    assert arrived(valkey) == names[:40], "eight at a time"
    publish_and_die(world, valkey, "43")
    assert arrived(valkey) == names[40:43], "one at a time"
    (poisoned,) = list_poison(limit=5)
    assert (poisoned.stage, poisoned.tries, poisoned.last_error) == ("relay", 1, NO_END)
    assert relay_all(publisher) == 56 and arrived(valkey) == names[44:]
    assert world.rows("SELECT subject FROM dredge_event WHERE published_ms IS NULL") == [("43",)]
    assert world.rows("SELECT key FROM dredge_poison") == [(poisoned.key,)], "later batches are whole again"
    retry("relay")
    assert relay_all(publisher) == 1 and arrived(valkey) == ["43"] and not list_poison(limit=5)


def test_a_large_row_does_not_take_the_whole_outbox_into_memory(database: str) -> None:
    with transaction():
        for n in range(5):
            events.record(events.BLOB_ERASED, subject=str(n), data={"x": "y" * 1000}, now_ms=1)
    assert len(outbox.find_unpublished(limit=10, max_bytes=2500)) == 3
    assert len(outbox.find_unpublished(limit=10, max_bytes=1)) == 1
    assert len(outbox.find_unpublished(limit=2, max_bytes=10**6)) == 2


def test_published_rows_go_when_they_are_old_and_debts_never(database: str, world: World) -> None:
    for n, published in enumerate((1000, 2000, 3000, None)):
        world.insert(
            "dredge_event",
            event_id=str(n),
            type="x",
            subject="x",
            data=json.dumps(n),
            created_ms=1,
            published_ms=published,
        )
    assert outbox.prune_published(before_ms=2500, limit=1) == 1
    assert outbox.prune_published(before_ms=2500, limit=9) == 1
    assert outbox.prune_published(before_ms=2500, limit=9) == 0
    assert world.value("SELECT array_agg(event_id ORDER BY id) FROM dredge_event") == ["2", "3"]


def test_a_listener_hears_a_commit_at_once_and_survives_its_connection(database: str, world: World) -> None:
    listener = outbox.Listener()
    assert listener.wait(PATIENCE_S), "just connected: what came before is unknown"
    assert not listener.wait(0.01)
    record("x")
    assert listener.wait(PATIENCE_S)
    world.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
        " AND datname = current_database()"
    )
    with pytest.raises(DatabaseUnavailable):
        for _ in range(3):
            listener.wait(PATIENCE_S)
    assert listener.wait(PATIENCE_S)
    listener.close()
    listener.close()
