"""Deleted repositories go whole, and nothing of anybody else's goes with them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from model import registry
from model.controls.holds import set_hold
from model.db.clock import now_ms
from model.gc.review import review_batch
from model.policy import DEFAULT, HOUR_MS
from model.purge.find import find_repositories, mark_unmarked
from model.purge.references import find_unknown_references, read_steps
from model.purge.repository import purge_repository_batch
from model.purge.state import PurgeBlocked
from tests.model.purge.conftest import NOW
from tests.model.purge.purging import exact_quota, purge
from tests.support.quay_rows import fill, fill_all
from tests.support.rows import timestamp
from tests.support.world import Row, World, digest_of

# Tables that the world's own factories fill in `_populate`.
CONTENT = {
    "manifest", "manifestblob", "manifestchild", "manifestlabel", "manifestsecuritystatus", "tag",
    "tagpullstatistics", "manifestpullstatistics", "uploadedblob", "blobupload", "quotarepositorysize",
    "deletedrepository",
}  # fmt: skip


def _populate(world: World, repository: Row, shared: Row) -> None:
    """An index, its children, a referrer, labels, statistics and a push in progress, in one repository."""
    where = int(repository)
    child = world.manifest(repository, blobs=[shared, world.blob(10)], labels=2)
    index = world.manifest(repository, children=[child])
    world.manifest(repository, blobs=[world.blob(20)], subject=child.digest)
    tag = world.tag("latest", manifest=index)
    world.tag("old", manifest=child, ended_ms=5, linked=tag)
    world.hold(child)
    world.tag("kept", manifest=index, immutable=True)
    world.notified(tag, notification=world.notification(repository=where))
    world.security(child)
    world.tag_pulls("latest", repository=where)
    world.manifest_pulls(child)
    world.uploaded(world.blob(30), repository=where)
    world.upload(repository=where)
    world.quota(where)


def test_every_foreign_key_of_a_current_quay_has_a_rule(quay: World) -> None:
    assert find_unknown_references() == []


def test_every_foreign_key_of_our_own_tables_has_a_rule(world: World) -> None:
    assert find_unknown_references() == []


@pytest.mark.parametrize("limit", [1000, 3, 1])
def test_everything_that_refers_to_a_deleted_repository_goes_and_a_bystander_stays(
    quay: World, limit: int
) -> None:
    shared = quay.blob(1000)
    doomed = quay.repository("doomed")
    _populate(quay, doomed, shared)
    fill_all(quay, "repository", doomed, but=CONTENT)
    quay.tag("latest", manifest=quay.manifest(quay.default_repository, blobs=[shared]))
    quay.quota()
    _populate(quay, quay.repository("other"), shared)
    kept = quay.snapshot()
    registry.delete_repository("acme/doomed", policy=NOW)
    batches = purge(doomed, limit=limit)
    assert batches[-1].done and len(batches) > (1 if limit < 1000 else 0)
    left = quay.snapshot()
    mine = {table: _of(rows, doomed) for table, rows in left.items()}
    assert {table: ids for table, ids in mine.items() if ids and not table.startswith("dredge_")} == {}
    for table in kept:
        if not table.startswith("dredge_") and table != "user":
            others = {key: row for key, row in kept[table].items() if not _mine(table, row, kept, doomed)}
            assert _without_sizes(left[table]) == _without_sizes(others), table
    assert exact_quota(quay)
    assert left["queueitem"] == {} and left["dredge_purge"] == {}


def _of(rows: dict[Any, Any], repository: int) -> list[Any]:
    return [key for key, row in rows.items() if row.get("repository_id") == repository]


def _mine(table: str, row: dict[str, Any], kept: dict[str, Any], doomed: int) -> bool:
    if table == "repository":
        return bool(row["id"] == doomed)
    if table == "tagnotificationsuccess":
        return bool(kept["tag"][row["tag_id"]]["repository_id"] == doomed)
    if table == "label":
        links = [link for link in kept["manifestlabel"].values() if link["label_id"] == row["id"]]
        return any(link["repository_id"] == doomed for link in links)
    return row.get("repository_id") == doomed


def _without_sizes(rows: dict[Any, dict[str, Any]]) -> dict[Any, Any]:
    return {key: {n: v for n, v in row.items() if n != "size_bytes"} for key, row in rows.items()}


def test_the_blobs_of_a_purged_repository_are_reviewed_like_all_others(world: World) -> None:
    doomed, shared, own = world.repository("doomed"), world.blob(7), world.blob(9)
    world.tag("v1", manifest=world.manifest(doomed, blobs=[shared, own]))
    world.tag("v1", manifest=world.manifest(blobs=[shared]))
    pushed = world.blob(11)
    world.uploaded(pushed, repository=doomed)
    world.mark_deleted(doomed)
    purge(doomed)
    with world.only_removes(blob=[own, pushed]):
        reviewed = review_batch(policy=DEFAULT, limit=100)
    assert (reviewed.blobs, reviewed.tombstones) == (2, 2)


def test_nothing_is_purged_before_its_grace_is_over(world: World) -> None:
    doomed = world.repository("doomed")
    world.tag("v1", repository=doomed)
    registry.delete_repository("acme/doomed")
    with world.changes() as changes:
        assert purge(doomed, policy=DEFAULT)[0].scope is None
    assert not changes
    week = timestamp(world.now_ms - DEFAULT.purge_grace_ms - HOUR_MS)
    world.execute("UPDATE deletedrepository SET marked = %s", (week,))
    assert purge(doomed, policy=DEFAULT)[-1].done


def test_a_repository_that_nobody_deleted_is_never_purged(world: World) -> None:
    world.tag("v1")
    with world.changes() as changes:
        assert purge(world.repository_id)[0].scope is None
    assert not changes


def test_the_delay_that_quay_set_is_respected_and_so_is_a_worker_of_quay(quay: World) -> None:
    doomed = quay.repository("doomed")
    registry.delete_repository("acme/doomed", policy=replace(DEFAULT, purge_grace_ms=HOUR_MS))
    assert quay.value("SELECT queue_name FROM queueitem") == f"repositorygc/acme/{int(doomed)}/"
    assert purge(doomed)[0].scope is None, "the delay still runs"
    quay.execute("UPDATE queueitem SET available_after = now() - interval '1 day'")
    taken = "available = false, state_id = 'quay', processing_expires = now() AT TIME ZONE 'UTC'"
    quay.execute(f"UPDATE queueitem SET {taken} + interval '1 hour'")
    assert purge(doomed)[0].scope is None, "a worker of Quay has it"
    quay.execute(f"UPDATE queueitem SET {taken} - interval '1 second'")
    assert purge(doomed)[-1].done


def test_while_dredge_purges_a_worker_of_quay_does_not_take_the_item(quay: World) -> None:
    doomed = quay.repository("doomed")
    for n in range(4):
        quay.tag(f"t{n}", repository=doomed)
    registry.delete_repository("acme/doomed", policy=NOW)

    assert purge_repository_batch(doomed, steps=read_steps("repository"), policy=NOW, limit=2).has_more
    free = "available OR processing_expires <= now() AT TIME ZONE 'UTC'"
    assert quay.value(f"SELECT count(*) FROM queueitem WHERE {free}") == 0
    assert purge(doomed)[-1].done and quay.value("SELECT count(*) FROM queueitem") == 0


def test_an_unknown_foreign_key_stops_that_purge_before_it_begins(world: World) -> None:
    doomed, other = world.repository("doomed"), world.repository("other")
    world.tag("v1", repository=doomed)
    world.execute("CREATE TABLE plugin (id serial PRIMARY KEY, repository_id int REFERENCES repository (id))")
    world.insert("plugin", repository_id=int(doomed))
    assert find_unknown_references() == [
        "plugin.repository_id refers to repository and is unknown: its rows will stop purges"
    ]
    world.mark_deleted(doomed)
    world.mark_deleted(other)
    with world.changes() as changes, pytest.raises(PurgeBlocked, match=r"plugin\.repository_id"):
        purge(doomed)
    assert not changes
    assert purge(other)[-1].done
    world.execute("DELETE FROM plugin")
    assert purge(doomed)[-1].done


def test_a_build_of_another_repository_that_used_its_trigger_stays(quay: World) -> None:
    doomed = quay.repository("doomed")
    trigger = fill(quay, "repositorybuildtrigger", repository_id=int(doomed))
    build = fill(quay, "repositorybuild", repository_id=quay.repository_id, trigger_id=trigger)
    quay.mark_deleted(doomed)
    purge(doomed)
    assert quay.rows("SELECT id, trigger_id FROM repositorybuild") == [(build, None)]


def test_a_hold_stops_a_purge_within_one_batch(world: World) -> None:
    doomed = world.repository("doomed")
    world.tag("v1", repository=doomed)
    world.mark_deleted(doomed)
    set_hold(repository_id=doomed, reason="audit", author="me")
    with world.changes() as changes:
        assert purge(doomed)[0].scope is None
    assert not changes
    assert purge(doomed, policy=replace(NOW, ignores_holds=True))[-1].done


def test_events_tell_of_every_manifest_once_and_of_the_end(world: World) -> None:
    doomed = world.repository("doomed")
    digests = [world.manifest(doomed, digest=digest_of(f"m{n}")).digest for n in range(5)]
    registry.delete_repository("acme/doomed", policy=NOW)
    purge(doomed, limit=2)
    told = world.rows("SELECT type, subject, data FROM dredge_event ORDER BY id")
    assert [row[:2] for row in told if "manifest" not in row[0]] == [
        ("registry.repository.deleted", "acme/doomed"),
        ("registry.repository.purged", "acme/doomed"),
    ]
    items = [item for kind, _, data in told if "manifest" in kind for item in json.loads(data)["items"]]
    assert sorted(item["digest"] for item in items) == sorted(digests)


def test_a_repository_marked_by_hand_gets_a_grace_of_its_own(world: World) -> None:

    doomed = world.repository("doomed", state=3)
    assert mark_unmarked(now_ms=now_ms()) == 1 and mark_unmarked(now_ms=now_ms()) == 0
    assert find_repositories(grace_ms=HOUR_MS, now_ms=now_ms(), limit=9) == []
    later = now_ms() + 2 * HOUR_MS
    found = find_repositories(grace_ms=HOUR_MS, now_ms=later, limit=9)
    assert [due.repository_id for due in found] == [doomed]
