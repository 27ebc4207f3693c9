"""The generator's own promises: its statistics, its seed and its integrity."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.db import clock
from model.db.connection import connection, fetch, fetch_one
from model.errors import BadInput
from model.policy import DEFAULT
from tests.support.databases import Databases
from worker.fsck.run import check_registry
from worker.local.sample import SHAPES, Filled, Shape, fill
from worker.local.sample.objects import ObjectWriter
from worker.local.sample.shape import registry
from worker.storage.local import LocalStore

IMAGES = """
    SELECT mb.manifest_id, count(*) - 1 AS layers
    FROM manifestblob mb JOIN manifest m ON m.id = mb.manifest_id
    WHERE m.subject IS NULL
      AND NOT EXISTS (SELECT FROM tag t WHERE t.manifest_id = m.id AND t.name ~ '^sha256-')
    GROUP BY mb.manifest_id
"""
UNRECOVERABLE = """
    lifetime_end_ms <= (extract(epoch from clock_timestamp()) - u.removed_tag_expiration_s) * 1000
"""
DEAD = f"""
    WITH RECURSIVE used(id) AS (
        SELECT t.manifest_id FROM tag t JOIN repository r ON r.id = t.repository_id
          JOIN "user" u ON u.id = r.namespace_user_id WHERE ({UNRECOVERABLE}) IS NOT TRUE
        UNION
        SELECT x.id FROM used JOIN manifest m ON m.id = used.id CROSS JOIN LATERAL (
            SELECT child_manifest_id FROM manifestchild WHERE manifest_id = m.id
            UNION ALL
            SELECT s.id FROM manifest s WHERE s.repository_id = m.repository_id AND s.digest = m.subject
        ) x(id)
    )
    SELECT id FROM manifest EXCEPT SELECT id FROM used
"""


@pytest.fixture(scope="module")
def sample(databases: Databases) -> Iterator[tuple[str, Filled]]:
    """A registry of 6,000 manifests, made once for this module's tests, which only read it."""
    url = databases.fresh()
    with databases.configured(url), connection():
        made = fill(registry(6_000))
    yield url, made
    databases.drop(url)


@pytest.fixture
def filled(databases: Databases, sample: tuple[str, Filled]) -> Iterator[Filled]:
    """What was made; the database is configured."""
    url, made = sample
    with databases.configured(url), connection():
        yield made


def one(sql: str) -> Any:
    return fetch_one(sql)[0]


def test_there_are_exactly_as_many_manifests_and_repositories_as_asked_for(filled: Filled) -> None:
    assert (filled.manifests, filled.repositories) == (6_000, 150)
    assert one("SELECT count(*) AS n FROM manifest") == 6_000
    assert one("SELECT count(*) AS n FROM imagestorage") == filled.blobs


def test_layers_have_the_sizes_of_real_layers(filled: Filled) -> None:
    median, p90 = one(
        "SELECT percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY image_size) AS q FROM imagestorage"
        " WHERE image_size > 100000"
    )
    assert 3.3e6 < median < 5e6
    assert 45e6 < p90 < 85e6


def test_images_have_as_many_layers_as_real_images(filled: Filled) -> None:
    median, p90 = one(
        f"SELECT percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (ORDER BY layers) AS q FROM ({IMAGES}) i"
    )
    assert (7 <= median <= 9) and (16 <= p90 <= 20)


def test_a_blob_is_referred_to_about_seven_and_a_half_times(filled: Filled) -> None:
    references = one(
        "SELECT (SELECT count(*) FROM manifestblob)::float / (SELECT count(*) FROM imagestorage) AS n"
    )
    assert 6.0 < references < 9.0


def test_the_empty_layer_is_in_about_half_of_all_images(filled: Filled) -> None:
    share = one(
        f"SELECT avg((EXISTS (SELECT FROM manifestblob mb JOIN imagestorage b ON b.id = mb.blob_id"
        f" WHERE mb.manifest_id = i.manifest_id AND b.content_checksum ~ '^sha256:a3ed95caeb02'))::int)"
        "::float AS n"
        f" FROM ({IMAGES}) i"
    )
    assert 0.42 < share < 0.58


def test_the_asked_share_of_tags_is_beyond_the_window(filled: Filled) -> None:
    share = one(
        f"SELECT avg((({UNRECOVERABLE}) IS TRUE)::int)::float AS n FROM tag t"
        " JOIN repository r ON r.id = t.repository_id"
        ' JOIN "user" u ON u.id = r.namespace_user_id WHERE NOT hidden'
    )
    assert 0.45 < share < 0.55


def test_a_freed_manifest_frees_one_to_two_and_a_half_blobs(filled: Filled) -> None:
    row = fetch_one(
        f"WITH dead AS MATERIALIZED ({DEAD}), freed AS (SELECT b.id FROM imagestorage b"
        " WHERE NOT EXISTS (SELECT FROM manifestblob mb WHERE mb.blob_id = b.id"
        "                   AND mb.manifest_id NOT IN (SELECT id FROM dead))"
        " AND NOT EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id"
        " AND u.expires_at > now() AT TIME ZONE 'UTC'))"
        " SELECT (SELECT count(*) FROM dead) AS manifests, (SELECT count(*) FROM freed) AS blobs"
    )
    assert 1_500 < row.manifests < 3_500
    assert 1.2 < row.blobs / row.manifests < 2.5


@pytest.mark.parametrize(
    ("what", "least", "most"),
    [
        ("SELECT count(DISTINCT manifest_id)::float / (SELECT count(*) FROM tag WHERE NOT hidden) AS n"
         " FROM manifestchild", 0.10, 0.25),
        ("SELECT count(DISTINCT subject)::float / (SELECT count(*) FROM tag WHERE NOT hidden) AS n"
         " FROM manifest", 0.04, 0.12),
        ("SELECT count(*)::float / (SELECT count(*) FROM manifest) AS n FROM manifestlabel", 1.6, 2.2),
        ("SELECT count(DISTINCT repository_id)::float / count(*) AS n FROM manifest", 0.01, 0.05),
    ],
)  # fmt: skip
def test_rates_are_those_of_the_workload(filled: Filled, what: str, least: float, most: float) -> None:
    assert least < one(what) < most


def test_rows_are_as_a_quay_writes_them(filled: Filled) -> None:
    """It never clears `uploading`; configurations have no uncompressed size, gzipped layers do."""
    assert one("SELECT bool_and(uploading AND cas_path) AS n FROM imagestorage")
    large, small = fetch(
        "SELECT count(*) AS n, bool_and(uncompressed_size > image_size) AS unpacked,"
        " bool_or(uncompressed_size IS NULL) AS without"
        " FROM imagestorage GROUP BY image_size > 5000000 ORDER BY image_size > 5000000 DESC"
    )
    assert large.unpacked and large.n > 1_000 and small.without
    for table in ("quotarepositorysize", "quotanamespacesize"):
        assert one(f"SELECT bool_and(backfill_start_ms = 0 AND backfill_complete) AS n FROM {table}"), table


def test_every_invariant_of_rows_holds(filled: Filled) -> None:
    violations = check_registry((), policy=DEFAULT, now_ms=clock.now_ms()).violations
    assert violations == ()


def test_foreign_keys_hold_though_they_were_not_checked_while_loading(filled: Filled) -> None:
    for key in fetch(
        "SELECT c.conrelid::regclass::text AS child, a.attname AS child_column,"
        " c.confrelid::regclass::text AS parent"
        " FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]"
        " WHERE c.contype = 'f'"
    ):
        orphans = one(
            f"SELECT count(*) AS n FROM {key.child} c WHERE c.{key.child_column} IS NOT NULL"
            f" AND NOT EXISTS (SELECT FROM {key.parent} p WHERE p.id = c.{key.child_column})"
        )
        assert orphans == 0, key


def fingerprint() -> list[Any]:
    return fetch(
        "SELECT u.username, r.name AS repository, t.name, m.digest"
        " FROM tag t JOIN manifest m ON m.id = t.manifest_id"
        ' JOIN repository r ON r.id = t.repository_id JOIN "user" u ON u.id = r.namespace_user_id'
        " ORDER BY 1, 2, 3, 4"
    )


def test_a_seed_makes_one_registry_and_another_seed_another(databases: Databases) -> None:
    found = []
    for seed in (3, 3, 4):
        with databases.clone(), connection():
            fill(Shape(manifests=300, repositories=10, seed=seed))
            found.append([row[1:] for row in fingerprint()])
    assert found[0] == found[1] != found[2]


def test_a_second_sample_stands_beside_the_first_and_never_twice(database: str) -> None:
    with connection():
        fill(Shape(manifests=100, repositories=5, seed=1))
        fill(Shape(manifests=100, repositories=5, seed=2))
        before = fingerprint()
        with pytest.raises(BadInput, match="another --seed"):
            fill(Shape(manifests=100, repositories=5, seed=2))
        assert fingerprint() == before
        assert (
            one("SELECT count(*) AS n FROM imagestorage WHERE content_checksum ~ '^sha256:a3ed95caeb02'") == 1
        )


def test_one_repository_can_hold_any_number_of_tags(database: str) -> None:
    with connection():
        filled = fill(Shape(manifests=500, repositories=1, tags=2_000, windows_s=(0,)))
        visible = one("SELECT count(*) AS n FROM tag WHERE NOT hidden AND name !~ '^sha256-'")
    assert filled.repositories == 1
    assert abs(visible - 2_000) <= 10


def test_small_objects_hash_to_their_digests(database: str, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "objects", fsync=False)
    with connection(), ObjectWriter(store) as write:
        fill(Shape(manifests=200, repositories=5, objects="small"), write=write)
    sizes = {
        row.content_checksum.removeprefix("sha256:"): row.image_size
        for row in fetch("SELECT content_checksum, image_size FROM imagestorage")
    }
    stored = {info.path.rpartition("/")[2]: info.size for info in store.list("sha256")}
    assert stored == sizes


def test_the_unique_shape_frees_three_blobs_for_each_dead_manifest(databases: Databases) -> None:
    with databases.clone(), connection():
        fill(dataclasses.replace(SHAPES["unique"], manifests=1_000, repositories=20))
        layers = "SELECT blob_id, count(*) AS uses FROM manifestblob GROUP BY 1"
        row = fetch_one(
            f"WITH dead AS MATERIALIZED ({DEAD}), uses AS ({layers}),"
            " few AS (SELECT count(*) - 1 AS layers FROM manifestblob GROUP BY manifest_id)"
            " SELECT (SELECT count(*) FROM imagestorage b WHERE NOT EXISTS (SELECT FROM manifestblob r"
            "  WHERE r.blob_id = b.id AND r.manifest_id NOT IN (SELECT id FROM dead)))::float"
            "  / (SELECT count(*) FROM dead) AS freed,"
            " (SELECT min(layers) FROM few) AS least, (SELECT max(layers) FROM few) AS most,"
            " (SELECT avg((uses = 1)::int)::float FROM uses) AS single"
        )
    assert 2.5 < row.freed < 4.0
    assert row.least >= 4 and row.most <= 12
    assert 0.4 < row.single < 0.65
