"""Measure the cost of two triggers: the optional one on tags, and the one that writes webhooks' deliveries.

Four clients end tags and one records events, one commit after the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from statistics import median

import psycopg2

from bench.figure import Figure, Options
from bench.lab import Lab, configured
from model import namespace, repository
from model.db.connection import execute, fetch, transaction
from model.events.record import TAG_DELETED, record
from model.events.trigger import install_triggers
from model.events.webhooks import add_webhook, remove_webhook

NAME = "trigger"
CLIENTS, ROUNDS = 4, 9


def run(options: Options) -> Iterator[Figure]:
    """Yield the rate of commits without the trigger, with it but without its NOTIFY, and with both."""
    seconds = min(options.seconds, 3.0)
    with Lab() as lab, lab.clone(None) as url, configured(url):
        tags = _tags()
        none = _commits(url, tags, seconds)
        install_triggers(notify=False)
        quiet = _commits(url, tags, seconds)
        install_triggers()
        loud = _commits(url, tags, seconds)
        recording = _recorded_in_three_ways(seconds)
    yield Figure(NAME, "ends without the trigger", none, "commits/s")
    yield Figure(NAME, "with it, without NOTIFY", quiet / none, "times")
    yield Figure(NAME, "with it and NOTIFY", loud / none, "times")
    bare, unwanted, owed = recording
    yield Figure(NAME, "events recorded without the trigger of webhooks", bare, "commits/s")
    yield Figure(NAME, "with it, no webhook", unwanted / bare, "times")
    yield Figure(NAME, "with it and a webhook that receives them", owed / bare, "times")


def _tags() -> list[int]:
    """Return a tag for each client, each in its own repository."""
    owner = namespace.ensure("bench")
    for client in range(CLIENTS):
        execute(
            "INSERT INTO tag (name, repository_id, lifetime_start_ms, tag_kind_id)"
            " VALUES ('v1', %s, 1, (SELECT id FROM tagkind WHERE name = 'tag'))",
            (repository.ensure(owner.id, f"app{client}").id,),
        )
    return [row.id for row in fetch("SELECT id FROM tag ORDER BY id")]


def _recorded_in_three_ways(seconds: float) -> tuple[float, float, float]:
    """Return the rates without the trigger of webhooks, with it, and with a webhook besides.

    The three take turns, so that other work of the machine slows all of them; each rate is a median.
    """
    rates: tuple[list[float], ...] = ([], [], [])
    for _ in range(ROUNDS):
        execute("ALTER TABLE dredge_event DISABLE TRIGGER dredge_owe_deliveries")
        rates[0].append(_recorded(seconds / ROUNDS))
        execute("ALTER TABLE dredge_event ENABLE TRIGGER dredge_owe_deliveries")
        rates[1].append(_recorded(seconds / ROUNDS))
        add_webhook("bench", "http://127.0.0.1:9/", ["tag.deleted"])
        rates[2].append(_recorded(seconds / ROUNDS))
        remove_webhook("bench")
    bare, unwanted, owed = (median(found) for found in rates)
    return bare, unwanted, owed


def _recorded(seconds: float) -> float:
    """Return the events recorded per second, each in a transaction of its own."""
    done = 0
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        with transaction():
            record(TAG_DELETED, subject="bench/app0:v1", data={"tag": "v1"}, now_ms=1)
        done += 1
    return done / seconds


def _commits(url: str, tags: list[int], seconds: float) -> float:
    """Return the commits per second of all clients together."""
    done = [0] * len(tags)

    def client(number: int) -> None:
        with psycopg2.connect(url) as link, link.cursor() as cursor:
            link.autocommit = True
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                cursor.execute(
                    "UPDATE tag SET lifetime_end_ms = %s WHERE id = %s", (done[number] + 1, tags[number])
                )
                done[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(len(tags))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds
