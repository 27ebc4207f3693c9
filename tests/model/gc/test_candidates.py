"""Manifests that somebody else named: judged when they are due, forgotten when they are gone."""

from __future__ import annotations

import json
import time
from dataclasses import replace

from model.db.clock import now_ms
from model.gc.collect import collect_batch
from model.gc.find import find_others
from model.manifest import create_manifest
from model.policy import DEFAULT
from tests.support.world import IMAGE, World, digest_of

EMPTY = digest_of("{}")


def test_a_candidate_whose_manifest_is_gone_is_forgotten(world: World) -> None:
    world.execute(
        "INSERT INTO dredge_manifest_candidate (repository_id, manifest_id, created_ms) VALUES (%s, 999, 0)",
        (world.repository_id,),
    )
    with world.unchanged():
        collect_batch(world.repository_id, policy=DEFAULT, limit=10)
    assert not world.rows("SELECT * FROM dredge_manifest_candidate")


def test_a_referrer_without_its_subject_is_judged_when_its_grace_is_over(world: World) -> None:
    policy = replace(DEFAULT, referrers="cascade", referrer_grace_ms=2000)
    content = {
        "schemaVersion": 2,
        "mediaType": IMAGE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY, "size": 2},
        "layers": [],
        "subject": {"mediaType": IMAGE, "digest": "sha256:" + "0" * 64, "size": 7},
    }
    world.uploaded(world.blob(2, digest=EMPTY))
    early = create_manifest(
        world.repository_id, json.dumps(content).encode(), policy=policy, now_ms=world.now_ms
    )
    found = find_others(policy=policy, now_ms=now_ms(), limit=10)
    assert not found and not collect_batch(world.repository_id, policy=policy, limit=10).rows
    time.sleep(max(0.0, world.now_ms / 1000 + 2.1 - time.time()))
    found = find_others(policy=policy, now_ms=now_ms(), limit=10)
    assert [due.repository_id for due in found] == [world.repository_id]
    assert [
        digest for digest, _ in collect_batch(world.repository_id, policy=policy, limit=10).manifests
    ] == [early.digest]


def test_a_referrer_that_outlasts_its_subject_is_judged_again_when_its_grace_is_over(world: World) -> None:
    """Its own tags go in two batches, the subject with the first: it waits, and is not forgotten."""
    policy = replace(DEFAULT, referrers="cascade")
    image = world.manifest()
    signature = world.manifest(subject=image.digest)
    hidden = world.tag("$temp-1", manifest=signature, hidden=True)
    for n in range(2):
        world.tag("named", manifest=signature, ended_ms=1000 + n)
    world.execute(
        "INSERT INTO dredge_manifest_candidate (repository_id, manifest_id, created_ms) VALUES (%s, %s, 0)",
        (world.repository_id, int(image)),
    )
    while collect_batch(world.repository_id, policy=policy, limit=1).has_more:
        pass
    start_ms = world.value("SELECT lifetime_start_ms FROM tag WHERE id = %s", (int(hidden),))
    assert world.rows("SELECT manifest_id, due_ms FROM dredge_manifest_candidate") == [
        (signature, start_ms + policy.referrer_grace_ms)
    ]
    world.execute("UPDATE dredge_manifest_candidate SET due_ms = 0")
    world.execute("UPDATE tag SET lifetime_start_ms = 0 WHERE hidden")
    with world.only_removes(manifest=signature, tag=hidden):
        collect_batch(world.repository_id, policy=policy, limit=10)
    assert not world.rows("SELECT * FROM dredge_manifest_candidate")
