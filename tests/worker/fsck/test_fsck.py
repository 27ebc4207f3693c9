"""fsck: each invariant is broken once, and exactly its check says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner

from model import storage_paths as paths
from model.fsck import objects
from model.gc.orphans.objects import find_known
from model.gc.storage_identity import record_identity
from model.policy import DEFAULT, Policy
from tests.support.world import World
from worker.cli import dredge
from worker.fsck.run import Report, check_registry
from worker.storage.base import ObjectInfo, StoreUnavailable
from worker.storage.local import LocalStore

HOUR_MS = 3_600_000
LOCATION = "local_us"
CASCADE = Policy(referrers="cascade")


@pytest.fixture
def healthy(world: World, store: LocalStore) -> World:
    """A registry of every kind of row, nothing wrong and nothing to do; the bystander of each test."""
    base, layer, shared = world.blob(3), world.blob(4), world.blob(5)
    for row in (base, layer, shared):
        store.write(paths.object_path(row.digest, True, ""), [b"x" * row.size])
    image = world.manifest(blobs=[base, layer], labels=2)
    index = world.manifest(children=[world.manifest(blobs=[base]), image])
    world.tag("latest", manifest=index)
    world.tag("old", manifest=image, ended_ms=world.now_ms - HOUR_MS)
    referrer = world.manifest(blobs=[shared], subject=index.digest)
    world.tag("sig", manifest=referrer)
    world.security(image)
    world.tag_pulls("latest")
    world.manifest_pulls(image)
    world.uploaded(layer)
    world.quota()
    return world


def look(world: World, store: LocalStore, *, policy: Policy = DEFAULT, young_ms: int = 0) -> Report:
    return check_registry([(LOCATION, store)], policy=policy, now_ms=world.now_ms, young_ms=young_ms)


def names(report: Report) -> dict[str, int]:
    return {finding.name: finding.count for finding in report.violations}


def test_a_healthy_registry_has_neither_violations_nor_pending_work(
    healthy: World, store: LocalStore
) -> None:
    report = look(healthy, store)
    assert report, report.violations
    assert not report.pending
    assert (report.objects, report.bytes) == (3, 12)


def orphan_manifest(world: World) -> None:
    world.manifest()


def orphan_cycle(world: World) -> None:
    first = world.manifest(blobs=[world.value("SELECT min(id) FROM imagestorage")])
    second = world.manifest(children=[first])
    world.child(first, second)


def loose_label(world: World) -> None:
    world.insert(
        "label",
        uuid="u",
        key="k",
        value="v",
        media_type_id=world.lookup("mediatype", "text/plain"),
        source_type_id=1,
    )


def two_alive(world: World) -> None:
    world.tag("latest", manifest=_any(world, "manifest"))


def ends_before_start(world: World) -> None:
    start, end = world.now_ms + 2 * HOUR_MS, world.now_ms + HOUR_MS
    world.tag("odd", manifest=_any(world, "manifest"), start_ms=start, ended_ms=end)


def foreign_tag(world: World) -> None:
    world.tag("far", manifest=_any(world, "manifest"), repository=world.repository())


def pulls_of_nothing(world: World) -> None:
    world.tag_pulls("never")


def pulls_of_no_manifest(world: World) -> None:
    world.insert(
        "manifestpullstatistics",
        repository_id=world.repository_id,
        manifest_digest="sha256:00",
        manifest_pull_count=1,
        last_manifest_pull_date="2026-01-01",
    )


def stray_candidate(world: World) -> None:
    world.insert("dredge_manifest_candidate", repository_id=99, manifest_id=1, created_ms=1)


def loose_blob(world: World) -> None:
    world.blob(digest=world.value("SELECT content_checksum FROM imagestorage WHERE image_size = 3"))


def unplaced_blob(world: World) -> None:
    world.tag("unplaced", manifest=world.manifest(blobs=[world.blob(0, placement=None)]))
    world.quota()


def malformed_checksum(world: World) -> None:
    world.execute("UPDATE imagestorage SET content_checksum = 'sha256:../x' WHERE image_size = 5")


def malformed_uuid(world: World) -> None:
    world.execute(
        "UPDATE imagestorage SET uuid = '../' || uuid, cas_path = false, content_checksum = NULL"
        " WHERE image_size = 5"
    )


def stone_nowhere(world: World) -> None:
    world.insert("dredge_tombstone", path="a/b", location="moon", size=1, created_ms=1, due_ms=1)


def event_twice(world: World) -> None:
    for _ in range(2):
        world.insert(
            "dredge_event", event_id="e", type="t", subject="s", data="{}", created_ms=1, published_ms=2
        )


def wrong_repository_quota(world: World) -> None:
    world.execute("UPDATE quotarepositorysize SET size_bytes = size_bytes + 1")


def wrong_namespace_quota(world: World) -> None:
    world.execute("UPDATE quotanamespacesize SET size_bytes = 0")


def lost_tag_target(world: World) -> None:
    world.execute("SET session_replication_role = replica")
    world.execute("UPDATE tag SET manifest_id = 4711 WHERE name = 'old'")


def tag_without_manifest(world: World) -> None:
    world.tag("void", manifest=_any(world, "manifest"))
    world.execute("UPDATE tag SET manifest_id = NULL WHERE name = 'void'")


def _any(world: World, table: str) -> int:
    return int(world.value(f"SELECT min(id) FROM {table}"))


PLANTED: list[tuple[Callable[[World], None], dict[str, int]]] = [
    (orphan_manifest, {"manifest-orphaned": 1}),
    (orphan_cycle, {"manifest-orphaned": 2}),
    (loose_label, {"label-orphaned": 1}),
    (two_alive, {"tag-alive-twice": 1}),
    (ends_before_start, {"tag-ends-before-it-starts": 1}),
    (foreign_tag, {"foreign-tag-manifest": 1}),
    (pulls_of_nothing, {"tag-statistics-without-tag": 1}),
    (pulls_of_no_manifest, {"manifest-statistics-without-manifest": 1}),
    (stray_candidate, {"candidate-of-no-repository": 1}),
    (loose_blob, {"blob-orphaned": 1}),
    (unplaced_blob, {"blob-nowhere": 1}),
    (malformed_checksum, {"blob-malformed": 1, "object-orphaned": 1}),
    (malformed_uuid, {"blob-malformed": 1, "object-orphaned": 1}),
    (stone_nowhere, {"tombstone-nowhere": 1}),
    (event_twice, {"event-twice": 1}),
    (wrong_repository_quota, {"quota-repository": 1}),
    (wrong_namespace_quota, {"quota-namespace": 1}),
    (lost_tag_target, {"dangling-tag-manifest": 1}),
    (tag_without_manifest, {"tag-alive-without-manifest": 1}),
]


@pytest.mark.parametrize(("plant", "expected"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_each_broken_invariant_of_rows_is_named_and_no_other(
    healthy: World, store: LocalStore, plant: Callable[[World], None], expected: dict[str, int]
) -> None:
    plant(healthy)
    with healthy.unchanged():
        report = look(healthy, store)
    assert names(report) == expected
    assert all(finding.examples and finding.advice for finding in report.violations)


def test_what_a_trace_remembers_is_pending_and_no_violation(healthy: World, store: LocalStore) -> None:
    dead = healthy.manifest()
    healthy.insert(
        "dredge_manifest_candidate", repository_id=healthy.repository_id, manifest_id=dead, created_ms=1
    )
    loose = healthy.blob()
    healthy.insert("dredge_blob_candidate", blob_id=loose, created_ms=1)
    healthy.tag("expired", ended_ms=1)
    healthy.uploaded(loose, expires_ms=1)
    healthy.upload(created_ms=1)
    store.write("sha256/ab/ab" + "1" * 62, [b"waits"])
    healthy.insert(
        "dredge_tombstone", path="sha256/ab/ab" + "1" * 62, location=LOCATION, size=1, created_ms=1, due_ms=1
    )
    report = look(healthy, store)
    assert report, report.violations
    assert {finding.name for finding in report.pending} == {
        "manifest-dead",
        "manifest-candidate",
        "blob-candidate",
        "tag-expired",
        "upload-marker-expired",
        "upload-abandoned",
        "tombstone",
    }


def test_a_referrer_whose_subject_is_gone_is_garbage_only_where_referrers_cascade(
    healthy: World, store: LocalStore
) -> None:
    start = healthy.now_ms - 48 * HOUR_MS
    healthy.tag("$temp-1", manifest=healthy.manifest(subject="sha256:00"), hidden=True, start_ms=start)
    young = healthy.manifest(subject="sha256:01")
    healthy.tag("$temp-2", manifest=young, hidden=True, start_ms=healthy.now_ms - HOUR_MS)
    assert look(healthy, store)
    assert names(look(healthy, store, policy=CASCADE)) == {"manifest-orphaned": 1}


def test_objects_and_rows_are_compared_both_ways(healthy: World, store: LocalStore) -> None:
    base, layer, _ = (paths.object_path(row[0], True, "") for row in _digests(healthy))
    store.erase([base])
    store.write(layer, [b"longer than its row"])
    store.write("sha256/ff/ff" + "0" * 62, [b"unknown"])
    store.write("uploads/0123", [b"unknown chunk"])
    store.write("userfiles/log", [b"none of ours"])
    store.write(paths.object_path(paths.EMPTY_LAYER, True, ""), [b"for ever"])
    assert names(look(healthy, store)) == {
        "object-missing": 1,
        "object-size-differs": 1,
        "object-orphaned": 2,
    }
    healthy.execute("INSERT INTO dredge_orphan VALUES ('object', %s, 1)", (f"{LOCATION}:uploads/0123",))
    assert names(look(healthy, store))["object-orphaned"] == 1
    assert "object-orphaned" not in names(look(healthy, store, young_ms=HOUR_MS))


def test_deep_reads_the_bytes(healthy: World, store: LocalStore) -> None:
    report = check_registry(
        [(LOCATION, store)], policy=DEFAULT, now_ms=healthy.now_ms, deep=True, progress=lambda name: None
    )
    assert names(report) == {"object-bytes-differ": 3}
    healthy.execute("UPDATE manifest SET manifest_bytes = manifest_bytes || ' '")
    report = check_registry([], policy=DEFAULT, now_ms=healthy.now_ms, deep=True)
    assert names(report) == {"manifest-bytes-differ": 4}


def test_what_changes_between_the_two_looks_is_not_reported(healthy: World, store: LocalStore) -> None:
    """An object written after the rows were read, and a row deleted after, are no discrepancies."""
    gone = paths.object_path(_digests(healthy)[0][0], True, "")
    new = healthy.blob
    path = "sha256/00/00" + "1" * 62

    class Meanwhile(LocalStore):
        def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
            self.write(path, [b"new"])
            new(3, digest="sha256:00" + "1" * 62, placement=LOCATION)
            healthy.execute("DELETE FROM manifestblob WHERE blob_id = (SELECT min(id) FROM imagestorage)")
            self.erase([gone])
            return super().list(prefix, start_after)

    report = look(healthy, Meanwhile(store.root, fsync=False))
    assert not {name for name in names(report) if name.startswith("object")}


def test_a_listing_that_breaks_off_is_a_violation_and_nothing_is_concluded(
    healthy: World, store: LocalStore
) -> None:
    class Broken(LocalStore):
        def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
            yield next(super().list(prefix, start_after))
            raise StoreUnavailable

    assert names(look(healthy, Broken(store.root, fsync=False))) == {"location-unreadable": 1}


def test_paths_are_the_same_in_sql_and_in_python(world: World) -> None:
    odd = ("x:y1", "sha256:../x", "abc", "sha256:", "sha256:ab:cd", "sha256:ab\n", "SHA256:ab")
    made = [
        world.blob(cas_path=cas, digest=digest)
        for cas in (True, False)
        for digest in ("sha256:abc", "sha256:a", "sha512:ABC", *odd)
    ]
    asked = world.rows(f"SELECT {paths.PATH_SQL}, {paths.MALFORMED_SQL} FROM imagestorage b ORDER BY id")
    assert [path for path, _ in asked] == [
        paths.object_path(row.digest, row.cas_path, row.uuid) for row in made
    ]
    assert [malformed for _, malformed in asked] == [row.cas_path and row.digest in odd for row in made]
    sound = world.rows(f"SELECT {paths.SOUND_PATH_SQL} FROM imagestorage b WHERE NOT {paths.MALFORMED_SQL}")
    assert {path for (path,) in sound} == {path for path, malformed in asked if not malformed}
    said = {row.path for row in objects.stream_expected(LOCATION)}
    assert said == {path for path, malformed in asked if not malformed}
    # A location whose store was never verified may be another name of the same store.
    record_identity(LOCATION, address="file:///a", identity="a")
    record_identity("elsewhere", address="file:///b", identity="b")
    for path in said:
        assert paths.digest_of(path) is None or paths.object_path(paths.digest_of(path), True, "") == path
        assert find_known([path, "sha256/no/such"], LOCATION) == {path}
        assert find_known([path], "elsewhere") == set()
        assert find_known([], LOCATION) == set()


def test_the_command_says_what_is_wrong_and_exits_1(
    healthy: World, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DREDGE_DATABASE_URL", healthy.url)
    monkeypatch.setenv("DREDGE_STORAGE", str(store.root))
    fine = CliRunner().invoke(dredge, ["fsck", "--json"])
    assert fine.exit_code == 0, fine.output
    assert json.loads(fine.stdout)["violations"] == 0
    orphan_manifest(healthy)
    bad = CliRunner().invoke(dredge, ["fsck"])
    assert bad.exit_code == 1
    assert "manifest-orphaned" in bad.stdout and "dredge sweep" in bad.stdout


def _digests(world: World) -> list[tuple[str]]:
    return world.rows("SELECT content_checksum FROM imagestorage ORDER BY id")
