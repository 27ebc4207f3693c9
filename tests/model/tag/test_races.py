"""Tag operations that meet: on real connections, each in a thread of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest

from model import registry
from model.db import connection as database
from model.db.session import OWNED
from model.errors import Contended, ManifestGone, NotRestorable
from model.gc.collect import collect_batch
from model.policy import Policy
from model.tag import lifetime, lock_id
from tests.support.patience import PATIENCE_S, eventually
from tests.support.world import World

WINDOW_MS = 14 * 24 * 3_600_000


@pytest.fixture
def threads() -> Iterator[Callable[..., Future[Any]]]:
    """`threads(function, …)` runs it in a thread with a connection of its own."""
    with ThreadPoolExecutor(8) as pool:

        def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
            def alone() -> Any:
                with database.connection():
                    return function(*args, **kwargs)

            return pool.submit(alone)

        yield run


@contextmanager
def session(world: World) -> Iterator[Any]:
    """Other software: an open transaction on a raw connection, committed at the end."""
    connection = psycopg2.connect(world.url)
    try:
        with connection.cursor() as cursor:
            yield cursor
        connection.commit()
    finally:
        connection.close()


def wait_until_waiting(world: World) -> None:
    """Until some session waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    eventually(lambda: world.value(waiting))


def test_the_lock_is_the_one_that_quay_takes(world: World, threads: Callable[..., Future[Any]]) -> None:
    first = hashlib.sha256(f"retarget_tag:{world.repository_id}".encode()).digest()[:8]
    assert lock_id(world.repository_id) == int.from_bytes(first, "big", signed=True)
    world.tag("v1")
    other = world.repository("other")
    world.tag("v1", repository=other)
    with session(world) as quay:
        quay.execute("SELECT pg_advisory_xact_lock(%s)", (lock_id(world.repository_id),))
        waiting = threads(registry.delete_tag, world.repository_id, "v1")
        wait_until_waiting(world)
        assert threads(registry.delete_tag, int(other), "v1").result(PATIENCE_S) is not None
        assert not waiting.done()
    assert waiting.result(PATIENCE_S) is not None


def test_many_retargets_leave_one_alive_row(world: World, threads: Callable[..., Future[Any]]) -> None:
    images = [world.manifest() for _ in range(4)]
    running = [
        threads(registry.retarget_tag, world.repository_id, "latest", images[n % 4].digest) for n in range(40)
    ]
    made = [future.result(PATIENCE_S) for future in running]
    rows = world.rows("SELECT id, lifetime_end_ms FROM tag WHERE name = 'latest'")
    assert len(rows) == 40 == len({end for _, end in rows})
    assert [id for id, end in rows if end is None] == [max(tag.id for tag in made)]
    assert world.value("SELECT count(*) FROM dredge_event") == 40


def test_a_delete_and_a_restore_take_turns(world: World, threads: Callable[..., Future[Any]]) -> None:
    image = world.manifest()
    world.tag("v1", manifest=image)
    world.tag("bystander")
    for _ in range(10):
        both = [
            threads(registry.delete_tag, world.repository_id, "v1"),
            threads(registry.restore_tag, world.repository_id, "v1", image.digest),
        ]
        for future in both:
            future.result(PATIENCE_S)
        alive = registry.get_tag(world.repository_id, "v1")
        if alive is None:
            registry.restore_tag(world.repository_id, "v1", image.digest)
    count = "SELECT count(*) FROM tag WHERE name = %s AND lifetime_end_ms IS NULL"
    assert [world.value(count, (name,)) for name in ("v1", "bystander")] == [1, 1]


def test_a_collection_that_was_first_makes_the_restore_say_no(
    world: World, threads: Callable[..., Future[Any]]
) -> None:
    """Case 9: the row is being deleted while the restore looks at it."""
    gone = world.tag("v1", ended_ms=world.now_ms - 1000)
    with session(world) as collector:
        collector.execute("DELETE FROM tag WHERE id = %s", (int(gone),))
        restoring = threads(registry.restore_tag, world.repository_id, "v1", gone.manifest.digest)
        wait_until_waiting(world)
    with pytest.raises(NotRestorable):
        restoring.result(PATIENCE_S)
    assert world.value("SELECT count(*) FROM tag") == 0


def test_a_restore_that_was_first_keeps_everything(world: World, threads: Callable[..., Future[Any]]) -> None:
    """Case 9: the window closes while the restore has not committed yet."""
    gone = world.tag("v1", manifest=world.manifest(blobs=[world.blob()]), ended_ms=world.now_ms - 1000)
    with world.only_removes(may_change=["tag", "namespace"]):
        with database.transaction():
            registry.restore_tag(world.repository_id, "v1", gone.manifest.digest)
            world.execute('UPDATE "user" SET removed_tag_expiration_s = 0')
            threads(collect_batch, world.repository_id, policy=Policy(), limit=10).result(PATIENCE_S)
        threads(collect_batch, world.repository_id, policy=Policy(), limit=10).result(PATIENCE_S)
    alive = registry.get_tag(world.repository_id, "v1")
    assert alive is not None and alive.reversion


def test_exactly_one_of_restore_and_collection_wins(
    world: World, threads: Callable[..., Future[Any]]
) -> None:
    """Case 9, with nothing held still: windows that close in these very milliseconds."""
    for number in range(25):
        now_ms = int(world.value("SELECT (extract(epoch from clock_timestamp()) * 1000)::bigint"))
        gone = world.tag(f"v{number}", ended_ms=now_ms - WINDOW_MS + 5 + number % 8)
        collecting = threads(collect_batch, world.repository_id, policy=Policy(), limit=10)
        time.sleep(0.001 * (number % 5))
        restoring = threads(registry.restore_tag, world.repository_id, gone.name, gone.manifest.digest)
        collecting.result(PATIENCE_S)
        restored = restoring.exception(10) is None
        if not restored:
            assert isinstance(restoring.exception(), NotRestorable | ManifestGone)
        collect_batch(world.repository_id, policy=Policy(), limit=10)
        there = world.value("SELECT count(*) FROM manifest WHERE id = %s", (int(gone.manifest),))
        assert there == int(restored)
    assert world.value("SELECT count(*) FROM tag WHERE lifetime_end_ms IS NULL") == world.value(
        "SELECT count(*) FROM manifest"
    )


def test_a_collected_manifest_is_never_tagged(world: World, threads: Callable[..., Future[Any]]) -> None:
    """Case 11: the collector holds the manifest that the push wants to tag."""
    image = world.manifest()
    with session(world) as collector:
        collector.execute("SELECT 1 FROM manifest WHERE id = %s FOR UPDATE", (int(image),))
        tagging = threads(registry.create_tag, world.repository_id, "v1", image.digest)
        wait_until_waiting(world)
        collector.execute("DELETE FROM manifest WHERE id = %s", (int(image),))
    with pytest.raises(ManifestGone):
        tagging.result(PATIENCE_S)
    assert world.value("SELECT count(*) FROM tag") == 0


def test_a_subject_that_is_tagged_again_keeps_its_siblings(
    world: World, threads: Callable[..., Future[Any]]
) -> None:
    """Case 28: the new tag is not committed yet when the old one is deleted."""
    image = world.manifest()
    tag = world.tag("v1", manifest=image)
    world.tag(image.digest.replace(":", "-") + ".sig")
    with world.changes() as changes:
        with database.transaction():
            made = registry.create_tag(world.repository_id, "v2", image.digest)
            deleting = threads(registry.delete_tag, world.repository_id, "v1")
            wait_until_waiting(world)
        assert deleting.result(PATIENCE_S) is not None
    assert set(changes.changed["tag"]) == {tag} and set(changes.added["tag"]) == {made.id}


def test_the_siblings_of_a_subject_that_lost_its_last_tag_first_are_gone(
    world: World, threads: Callable[..., Future[Any]]
) -> None:
    """Case 28, the other way round: the deletion is not committed yet when the new tag comes."""
    image = world.manifest()
    tag = world.tag("v1", manifest=image)
    sibling = world.tag(image.digest.replace(":", "-") + ".sig")
    with world.changes() as changes:
        with database.transaction():
            registry.delete_tag(world.repository_id, "v1")
            tagging = threads(registry.create_tag, world.repository_id, "v2", image.digest)
            wait_until_waiting(world)
        made = tagging.result(PATIENCE_S)
    assert set(changes.changed["tag"]) == {tag, sibling} and set(changes.added["tag"]) == {made.id}


def test_a_lock_that_is_never_given_back_is_a_clear_error(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OWNED, "lock_timeout", "20ms")
    database.configure(world.url)
    world.tag("v1")
    with session(world) as frozen:
        frozen.execute("SELECT pg_advisory_xact_lock(%s)", (lock_id(world.repository_id),))
        with world.changes() as changes, pytest.raises(Contended):
            registry.delete_tag(world.repository_id, "v1")
    assert not changes
    assert registry.delete_tag(world.repository_id, "v1") is not None


def test_a_deadlock_with_other_software_is_tried_again(
    world: World, threads: Callable[..., Future[Any]]
) -> None:
    image = world.manifest()
    tag = world.tag("v1", manifest=image)
    sibling = world.tag(image.digest.replace(":", "-") + ".sig")
    with session(world) as quay:
        quay.execute("SET deadlock_timeout = '1h'")  # The server never takes it as the victim.
        quay.execute("SELECT 1 FROM tag WHERE id = %s FOR UPDATE", (int(sibling),))
        deleting = threads(registry.delete_tag, world.repository_id, "v1")
        wait_until_waiting(world)
        quay.execute("SELECT 1 FROM tag WHERE id = %s FOR UPDATE", (int(tag),))
    assert deleting.result(PATIENCE_S) is not None
    assert world.value("SELECT count(*) FROM tag WHERE lifetime_end_ms IS NULL") == 0
    assert world.value("SELECT count(*) FROM dredge_event") == 2


def test_a_millisecond_lost_to_other_software_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 18: a row of the name takes the wanted end between our look and our write."""
    tag, taken = world.tag("v1"), world.tag("v1", ended_ms=world.now_ms - 5000)
    real, blind = lifetime.free_ends, iter([[taken.ended_ms]])
    monkeypatch.setattr(lifetime, "free_ends", lambda *args: next(blind, None) or real(*args))
    deleted = registry.delete_tag(world.repository_id, "v1")
    assert deleted is not None and deleted.id == tag and deleted.end_ms != taken.ended_ms


def test_inside_a_callers_transaction_a_lost_race_is_the_callers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tag("v1")
    taken = world.tag("v1", ended_ms=world.now_ms - 5000)
    monkeypatch.setattr(lifetime, "free_ends", lambda *args: [taken.ended_ms])
    with world.changes() as changes, pytest.raises(Contended), database.transaction():
        registry.delete_tag(world.repository_id, "v1")
    assert not changes


def test_everybody_at_once(world: World, threads: Callable[..., Future[Any]]) -> None:
    repositories = [world.repository(f"r{n}", namespace=world.namespace(f"n{n}", window_s=n)) for n in (0, 1)]
    images = {
        int(r): [world.manifest(r, blobs=[world.blob()]).digest for _ in range(3)] for r in repositories
    }
    kept = {int(r): world.tag("kept", repository=r) for r in repositories}
    done: list[str] = []

    def work(seed: int) -> None:
        for turn in range(seed, seed + 60):
            where = int(repositories[turn % 2])
            digest, name = images[where][turn % 3], f"v{turn // 3 % 2}"
            try:
                if turn % 5 < 2:
                    registry.retarget_tag(where, name, digest)
                elif turn % 5 == 2:
                    registry.delete_tag(where, name)
                elif turn % 5 == 3:
                    registry.restore_tag(where, name, digest)
                else:
                    collect_batch(where, policy=Policy(), limit=5)
                done.append("ok")
            except (NotRestorable, ManifestGone) as error:
                done.append(type(error).__name__)

    running = [threads(work, seed) for seed in range(0, 60, 10)]
    for future in running:
        future.result(PATIENCE_S)
    assert len(done) == 360 and done.count("ok") > 100
    assert not world.rows(
        "SELECT repository_id, name FROM tag WHERE lifetime_end_ms IS NULL GROUP BY 1, 2 HAVING count(*) > 1"
    )
    for where, tag in kept.items():
        found = registry.get_tag(where, "kept")
        assert found is not None and found.id == tag
