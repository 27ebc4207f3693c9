"""Beside a transaction that is open for hours a claim costs what it claims, not what was claimed before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from model.db import queue_start
from model.db.clock import now_ms
from model.db.connection import execute, fetch
from model.db.queue_start import FRONT, LONGEST_S, QueueStart, QueueStarts
from model.events import outbox
from model.gc import security_reports
from model.gc.due import waiting
from model.gc.due.attempt import claim, settle
from model.policy import HOUR_MS
from tests.support.entries import counting, old_snapshot
from tests.support.memory_store import MemoryStore
from tests.support.pipeline import LOCATION, Recorded, make_context
from tests.support.world import World
from tests.worker.events.receiving import SETTINGS
from worker.broker.background_threads import BackgroundThreads
from worker.events import relay
from worker.jobs import due, erase, quarantine, reports, review, together, webhooks
from worker.jobs.context import JobContext
from worker.jobs.together import CollectOutcome
from worker.quay.clair import Scanner
from worker.settings import Settings

ROWS, LIMIT = 2_000, 100
# `watch(module, name, counts)`: from now on count what each call of the function reads; the rows are there.
Watch = Callable[[ModuleType, str, list[int]], None]


class Begun(QueueStart):
    """A start whose next turn from the front is not due while the test runs."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(lambda: self.now_s)
        self.begin()
        self.now_s = LONGEST_S
        self.reach(FRONT)


class AllBegun(QueueStarts):
    def __missing__(self, name: str) -> QueueStart:
        return self.setdefault(name, Begun())


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(params=["none", "once", "often"])
def watch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """A new installation has no statistics of its tables until the first autovacuum, and later new ones."""

    def analyse() -> None:
        for (table,) in fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^dredge_'"):
            execute(f"ANALYZE {table}")

    def start(module: ModuleType, name: str, counts: list[int]) -> None:
        if request.param != "none":
            analyse()
        counted = counting(getattr(module, name), counts)

        def claim(*arguments: Any, **options: Any) -> Any:
            if request.param == "often" and len(counts) % 5 == 4:
                analyse()
            return counted(*arguments, **options)

        monkeypatch.setattr(module, name, claim)

    return start


@pytest.fixture
def context(world: World, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobContext]:
    """A turn begins exactly where the last one was, as if each took ten seconds."""
    monkeypatch.setattr(queue_start, "BACK_S", 0.0)
    monkeypatch.setattr(queue_start, "STEP_S", 0.0)
    settings = Settings(
        quarantine_s=0, erase_batch=LIMIT, clair_url="http://clair", broker_url="redis://127.0.0.1:1/0"
    )
    made = make_context({LOCATION: store}, settings=settings)
    vars(made)["starts"] = AllBegun()
    with old_snapshot(world.url):
        yield made


def assert_flat(counts: list[int], *, rows: int, limit: int) -> None:
    """Each claim reads a few index entries for each of its rows, and those of the claim before."""
    assert len(counts) >= rows // limit and max(counts) <= 8 * limit, counts


def test_the_eraser(world: World, store: MemoryStore, context: JobContext, watch: Watch) -> None:
    store.objects |= {f"{n}": b"x" for n in range(1, ROWS + 1)} | {"bystander": b"x"}
    world.execute(
        "INSERT INTO dredge_tombstone (path, location, size, created_ms, due_ms)"
        " SELECT n, %s, 1, 1, 1 FROM generate_series(1, %s) n",
        (LOCATION, ROWS),
    )
    counts: list[int] = []
    watch(erase, "claim_tombstones", counts)
    assert erase.erase(context, budget_s=600).objects == ROWS
    assert [*store.objects] == ["bystander"] and not world.value("SELECT count(*) FROM dredge_tombstone")
    assert_flat(counts, rows=ROWS, limit=LIMIT)


def test_the_trash(
    world: World, store: MemoryStore, context: JobContext, monkeypatch: pytest.MonkeyPatch, watch: Watch
) -> None:
    store.trash |= {f"t{n}": b"x" for n in range(1, ROWS + 1)}
    store.objects["bystander"] = b"x"
    world.execute(
        "INSERT INTO dredge_quarantine (id, path, location, trash, size, set_aside_ms, look_ms, purge_ms)"
        " SELECT n, n, %s, 't' || n, 1, 1, 1, 1 FROM generate_series(1, %s) n",
        (LOCATION, ROWS),
    )
    counts: list[int] = []
    monkeypatch.setattr(quarantine, "BATCH", LIMIT)
    watch(quarantine, "claim_quarantined", counts)
    assert erase.erase(context, budget_s=600).objects == ROWS
    assert not store.trash and store.objects and not world.value("SELECT count(*) FROM dredge_quarantine")
    assert_flat(counts, rows=ROWS, limit=LIMIT)


def test_the_deliveries_of_each_webhook(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch, watch: Watch
) -> None:
    for name in ("one", "two"):
        world.execute("INSERT INTO dredge_webhook VALUES (%s, 'https://example.com', '*', 1)", (name,))
    world.execute(
        "INSERT INTO dredge_delivery (webhook, event_id, type, subject, data, created_ms, due_ms)"
        " SELECT CASE WHEN n %% 2 = 0 THEN 'one' ELSE 'two' END, n, 't', 's', '{}', 1, 1"
        " FROM generate_series(1, %s) n",
        (ROWS // 2,),
    )
    counts: list[int] = []
    monkeypatch.setattr(webhooks, "send", lambda delivery, **options: None)
    watch(webhooks, "claim_deliveries", counts)
    keyed = replace(context, settings=replace(SETTINGS))
    vars(keyed)["starts"] = context.starts
    assert webhooks.deliver_webhooks(keyed, budget_s=600).sent == ROWS // 2
    assert not world.value("SELECT count(*) FROM dredge_delivery")
    assert_flat(counts, rows=ROWS // 2, limit=2 * webhooks.BATCH)


def test_the_security_reports(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch, watch: Watch
) -> None:
    world.execute(
        "INSERT INTO dredge_report_debt (digest, created_ms, due_ms)"
        " SELECT 'sha256:' || n, 1, 1 FROM generate_series(1, %s) n",
        (ROWS // 2,),
    )
    counts: list[int] = []
    monkeypatch.setattr(Scanner, "delete_report", lambda scanner, digest: None)
    # The last claim finds none, and would read the entries of leases that pass on a slow machine.
    monkeypatch.setattr(security_reports, "FIRST_RETRY_MS", HOUR_MS)
    watch(reports, "claim_report_debts", counts)
    assert reports.deliver_reports(context, budget_s=600).deleted == ROWS // 2
    assert_flat(counts, rows=ROWS // 2, limit=reports.BATCH)


class Sink:
    """An exchange that takes everything."""

    def publish(self, events: Any, removals: Any) -> int:
        return len([*events])


def test_the_relay(world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    world.execute(
        "INSERT INTO dredge_event (event_id, type, subject, data, created_ms)"
        " SELECT n, 'registry.tag.deleted', 's', '{}', 1 FROM generate_series(1, %s) n",
        (ROWS,),
    )
    counts: list[int] = []
    monkeypatch.setattr(relay, "BATCH_ROWS", LIMIT)
    for name in ("find_last", "find_unpublished"):
        watch(outbox, name, counts)
    threads = BackgroundThreads(context)
    monkeypatch.setattr(threads, "_publisher", Sink())
    monkeypatch.setattr(threads, "_unpublished", Begun())
    assert threads._publish() == ROWS
    assert not outbox.count_unpublished()
    assert_flat(counts, rows=2 * ROWS, limit=LIMIT)


def test_the_review(world: World, context: JobContext, watch: Watch) -> None:
    blob = world.blob()
    world.execute(
        "INSERT INTO dredge_blob_candidate (blob_id, created_ms) SELECT 1000000 + n, 1"
        " FROM generate_series(1, %s) n",
        (ROWS,),
    )
    counts: list[int] = []
    watch(review, "claim_candidates", counts)
    small = replace(context, settings=replace(context.settings, review_batch=LIMIT))
    vars(small)["starts"] = context.starts
    for _ in range(3):
        review.review(small, budget_s=600)
    assert not world.value("SELECT count(*) FROM dredge_blob_candidate")
    assert world.rows("SELECT id FROM imagestorage") == [(int(blob),)]
    assert_flat(counts, rows=ROWS, limit=LIMIT)


def test_a_collector_that_takes_others_along(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch, watch: Watch
) -> None:
    repositories = world.due_repositories(ROWS)
    others = context.settings.batch_repositories
    counts: list[int] = []

    def collected(context: JobContext, claimed: list[int], *, budget_s: float) -> list[CollectOutcome]:
        settle(claimed, now_ms=now_ms())
        return [CollectOutcome(repository) for repository in claimed]

    monkeypatch.setattr(together, "collect_together", collected)
    watch(together, "claim_with_others", counts)
    done: set[int] = set()
    for repository in repositories:
        if repository not in done:
            outcomes = together.collect_with_others(context, repository, budget_s=600)
            done |= {outcome.repository_id for outcome in outcomes}
    assert done == {*repositories}
    assert_flat(counts, rows=ROWS, limit=others)


def test_the_timer_of_due_repositories(
    world: World, context: JobContext, monkeypatch: pytest.MonkeyPatch, watch: Watch
) -> None:
    repositories = world.due_repositories(ROWS)
    counts: list[int] = []
    monkeypatch.setattr(waiting, "LOOK", LIMIT)
    monkeypatch.setattr(due, "LIMIT", LIMIT)
    watch(due, "find_first", counts)
    watch(waiting, "_find_unqueued", counts)
    settings = replace(context.settings, namespace_share=LIMIT)
    timed = replace(context, settings=settings)
    vars(timed)["starts"] = context.starts
    queue = context.queue
    assert isinstance(queue, Recorded)
    while due.enqueue_due(timed):
        sent = queue.repositories[-LIMIT:]
        claim(sent)
        settle(sent, now_ms=now_ms())
    assert sorted(queue.repositories) == repositories
    assert_flat(counts, rows=2 * ROWS, limit=LIMIT)
