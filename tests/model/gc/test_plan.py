"""A dry run says what the real run does: on random registries, to the last byte, writing nothing."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from model.gc.inspect.plan import plan_blobs, plan_repository
from model.policy import DEFAULT, HOUR_MS, Policy
from tests.model.gc.test_oracle import Built, plans, policies
from tests.model.gc.test_oracle import Plan as Registry
from tests.support.databases import Databases
from tests.support.pipeline import LOCATION, make_context
from tests.support.snapshot import Changes
from tests.support.world import World
from worker.jobs.plan import Planned, all_due, plan_each, total
from worker.jobs.to_the_end import collect_to_the_end, review_to_the_end
from worker.settings import Settings
from worker.storage.local import LocalStore

CASCADE = replace(DEFAULT, referrers="cascade")


def long_ago(world: World) -> int:
    return world.now_ms - 1000 * 24 * HOUR_MS


def test_the_plan_names_what_would_go_and_writes_nothing(world: World) -> None:
    shared, own = world.blob(1000), world.blob(24)
    world.tag("bystander", manifest=world.manifest(blobs=[shared]))
    manifest = world.manifest(blobs=[shared, own])
    for name in ("b", "a"):
        world.tag(name, manifest=manifest, ended_ms=long_ago(world))
    world.tag("recoverable", ended_ms=world.now_ms - HOUR_MS)
    with world.changes() as changes:
        plan = plan_repository(world.repository_id, policy=DEFAULT)
        assert plan is not None
        sums = plan_blobs([plan])
    assert not changes
    assert (plan.tags, plan.digests, plan.manifest_ids) == (("a", "b"), (manifest.digest,), (manifest,))
    assert plan.scope.full_name == "acme/app" and sums == (1, 24)


def test_tags_that_would_go_with_their_manifest_are_named_too(world: World) -> None:
    world.tag("bystander")
    image = world.manifest()
    signature = world.manifest(subject=image.digest)
    world.tag("$temp-1", manifest=signature, hidden=True, start_ms=long_ago(world))
    world.tag("old", manifest=image, ended_ms=long_ago(world))
    plan = plan_repository(world.repository_id, policy=CASCADE)
    assert plan is not None and plan.tags == ("$temp-1", "old") and len(plan.digests) == 2
    plan = plan_repository(world.repository_id, policy=DEFAULT)
    assert plan is not None and plan.tags == ("old",) and not plan.digests


def test_a_blob_that_two_repositories_would_lose_together_is_counted_once(world: World) -> None:
    world.tag("bystander", manifest=world.manifest(blobs=[world.blob()]))
    blob, other = world.blob(7), world.repository("other")
    for repository in (world.default_repository, other):
        world.tag(manifest=world.manifest(repository, blobs=[blob]), ended_ms=long_ago(world))
    here, there = [plan_repository(id, policy=DEFAULT) for id in (world.repository_id, int(other))]
    assert here is not None and there is not None
    assert plan_blobs([here]) == plan_blobs([there]) == (0, 0)
    assert plan_blobs([here, there]) == (1, 7)


def test_a_child_with_a_living_tag_survives_in_the_plan_of_its_dead_index(world: World) -> None:
    child = world.manifest()
    world.tag("bystander", manifest=child)
    index = world.manifest(children=[child])
    world.tag("old", manifest=index, ended_ms=long_ago(world))
    plan = plan_repository(world.repository_id, policy=DEFAULT)
    assert plan is not None and (plan.tags, plan.digests) == (("old",), (index.digest,))


def test_there_is_no_plan_for_what_may_not_be_collected(world: World) -> None:
    repository = world.repository("marked")
    world.tag(repository=repository, ended_ms=1)
    world.mark_deleted(repository)
    assert plan_repository(int(repository), policy=DEFAULT) is None
    assert plan_repository(999_999, policy=DEFAULT) is None


def test_a_push_that_was_given_up_is_part_of_the_plan(world: World) -> None:
    world.uploaded(world.blob(9), expires_ms=world.now_ms - HOUR_MS)
    world.uploaded(world.blob(99))
    ids = all_due(DEFAULT)
    assert ids == [world.repository_id]
    planned = total(list(plan_each(ids, DEFAULT)))
    assert (planned.blobs, planned.bytes) == (1, 9)
    assert (planned.repositories, planned.uploads) == (1, 1), "the plan counts the repositories that are due"


PHASES = (Phase.explicit, Phase.generate, Phase.shrink)


@settings(max_examples=25, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(registry=plans, policy=policies, batch=st.sampled_from([2000, 16, 3]))
def test_case_50_the_plan_equals_the_real_run(
    databases: Databases, registry: Registry, policy: Policy, batch: int
) -> None:
    if policy.referrers == "cascade" and batch < 2000:
        # A referrer whose own tags go in several batches may outlast its subject by its grace.
        policy = replace(policy, referrer_grace_ms=0)
    with tempfile.TemporaryDirectory() as directory, databases.clone() as url:
        store = {name: LocalStore(Path(directory) / name, fsync=False) for name in (LOCATION, "eu")}
        world = World(url)
        try:
            Built(world, registry, store).trace(policy)
            compare(world, store, policy, batch)
        finally:
            world.close()


def compare(world: World, store: dict[str, LocalStore], policy: Policy, batch: int) -> None:
    ids = all_due(policy)
    with world.changes() as nothing:
        planned = list(plan_each(ids, policy))
        sums = total(planned)
    assert not nothing
    context = make_context(store, policy=policy, settings=Settings(batch_manifests=batch))
    with world.changes() as real:
        for repository_id in ids:
            list(collect_to_the_end(context, repository_id))
        retired = list(review_to_the_end(context))
    assert gone(real, "tag", "name") == Counter(
        (plan.scope.repository_id, tag) for plan in planned for tag in plan.tags
    )
    assert gone(real, "manifest", "digest") == Counter(
        (plan.scope.repository_id, digest) for plan in planned for digest in plan.digests
    )
    tags, manifests = real.removed.get("tag", {}), real.removed.get("manifest", {})
    uploads = [
        row for table in ("uploadedblob", "blobupload") for row in real.removed.get(table, {}).values()
    ]
    assert sums == Planned(
        repositories=len({row["repository_id"] for row in (*tags.values(), *manifests.values(), *uploads)}),
        uploads=len(uploads),
        tags=len(tags),
        manifests=len(manifests),
        blobs=len(real.removed.get("imagestorage", {})),
        bytes=sum(
            row["image_size"] or 0
            for id, row in real.removed.get("imagestorage", {}).items()
            if id in {place["storage_id"] for place in real.removed.get("imagestorageplacement", {}).values()}
        ),
    )
    assert (sums.blobs, sums.bytes) == (sum(r.blobs for r in retired), sum(r.bytes for r in retired))


def gone(changes: Changes, table: str, column: str) -> Counter[tuple[int, str]]:
    return Counter((row["repository_id"], row[column]) for row in changes.removed.get(table, {}).values())
