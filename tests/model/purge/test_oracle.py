"""Purges of random registries against an oracle in plain Python that works on a snapshot of the rows."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.gc.review import review_batch
from tests.model.purge.conftest import NOW
from tests.model.purge.purging import exact_quota, purge
from tests.support.databases import Databases
from tests.support.world import Row, World

Snapshot = dict[str, dict[Any, dict[str, Any]]]

# What a purge neither reads nor writes, or what `exact_quota` checks.
IGNORED = {"quotanamespacesize"}


def _make(world: World, chance: random.Random) -> list[Row]:
    """Repositories of two owners that share blobs, with graphs, labels, statistics and pushes."""
    owners = [world.default_namespace, world.namespace()]
    blobs = [world.blob(chance.randrange(1, 500)) for _ in range(6)]
    made = []
    for n in range(chance.randrange(2, 5)):
        repository = world.repository(f"r{n}", namespace=chance.choice(owners))
        made.append(repository)
        manifests: list[Row] = []
        for _ in range(chance.randrange(5)):
            _add_manifest(world, chance, repository, manifests, blobs)
        for blob in chance.sample(blobs, chance.randrange(3)):
            world.uploaded(blob, repository=repository)
        if chance.random() < 0.3:
            world.upload(repository=repository)
    for repository in made:
        world.quota(repository)
    return made


def _add_manifest(
    world: World, chance: random.Random, repository: Row, manifests: list[Row], blobs: list[Row]
) -> None:
    subject = chance.choice(manifests).digest if manifests and chance.random() < 0.3 else None
    children = chance.sample(manifests, min(2, len(manifests))) if chance.random() < 0.3 else []
    manifest = world.manifest(
        repository,
        blobs=chance.sample(blobs, 2),
        children=children,
        subject=subject,
        labels=chance.randrange(2),
    )
    manifests.append(manifest)
    if chance.random() < 0.7:
        ended_ms = chance.choice([None, 5, world.now_ms + 10_000_000])
        tag = world.tag(manifest=manifest, ended_ms=ended_ms, immutable=chance.random() < 0.2)
        if chance.random() < 0.3:
            world.notified(tag, notification=world.notification(repository=repository))
            world.tag_pulls(tag.name, repository=repository)
    if chance.random() < 0.3:
        world.security(manifest)
        world.manifest_pulls(manifest)


def expected_after(before: Snapshot, doomed: set[int]) -> Snapshot:
    """What must be left, by the documentation alone: every row of a purged repository goes, labels and
    blobs go that only it used, and everything else stays as it is."""
    left = {table: dict(rows) for table, rows in before.items()}
    gone_tags = {key for key, row in before["tag"].items() if row["repository_id"] in doomed}
    for rows in left.values():
        for key in [key for key, row in rows.items() if row.get("repository_id") in doomed]:
            del rows[key]
    left["repository"] = {key: row for key, row in left["repository"].items() if key not in doomed}
    successes = left["tagnotificationsuccess"].items()
    left["tagnotificationsuccess"] = {k: row for k, row in successes if row["tag_id"] not in gone_tags}
    labelled = {row["label_id"] for row in left["manifestlabel"].values()}
    left["label"] = {key: row for key, row in left["label"].items() if key in labelled}
    used = {row["blob_id"] for table in ("manifestblob", "uploadedblob") for row in left[table].values()}
    lost = {
        row["blob_id"]
        for table in ("manifestblob", "uploadedblob")
        for row in before[table].values()
        if row["repository_id"] in doomed
    }
    dead = lost - used
    left["imagestorage"] = {key: row for key, row in left["imagestorage"].items() if key not in dead}
    placements = left["imagestorageplacement"].items()
    left["imagestorageplacement"] = {k: row for k, row in placements if row["storage_id"] not in dead}
    return left


@pytest.mark.parametrize("limit", [1, 4, 1000])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_a_purge_leaves_what_the_oracle_says(databases: Databases, limit: int, seed: int) -> None:
    with databases.clone() as url:
        world = World(url)
        chance = random.Random(seed)
        made = _make(world, chance)
        doomed = chance.sample(made, chance.randrange(1, len(made) + 1))
        before: Snapshot = world.snapshot()
        for repository in doomed:
            world.mark_deleted(repository)
        for repository in doomed:
            assert purge(repository, limit=limit)[-1].done
        while review_batch(policy=NOW, limit=limit).has_more:
            pass
        after: Snapshot = world.snapshot()
        wanted = expected_after(before, {int(repository) for repository in doomed})
        for table in wanted.keys() - IGNORED:
            if not table.startswith("dredge_"):
                assert after[table] == wanted[table], f"{table}, seed {seed}"
        assert exact_quota(world)
        assert after["dredge_blob_candidate"] == {} and after["dredge_purge"] == {}
        world.close()
