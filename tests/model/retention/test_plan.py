"""The plan of retention rules is what a run and a collection after the window then do."""

from __future__ import annotations

import random

import pytest

from model.gc.collect import collect_batches
from model.gc.review import review_batch
from model.policy import DEFAULT, Policy
from model.retention import group
from model.retention.plan import plan_retention
from model.retention.policies import RetentionPolicy
from model.retention.rule import Rule
from tests.model.retention.retaining import (
    DAY_MS,
    QUAY,
    aged,
    fileless,
    namespace_policy,
    repository_policy,
    retain,
)
from tests.support.world import Row, World
from worker.jobs.plan_policy import Sums, sum_up

ALL = fileless(Rule("all", "expire", older_than_ms=DAY_MS))
RULES = RetentionPolicy(
    rules=(
        Rule("keep main", "keep", glob="main*"),
        Rule("old", "expire", older_than_ms=5 * DAY_MS),
        Rule("few", "expire", glob="v*", newest=2),
    )
)


def _registry(world: World, seed: int) -> int:
    """Images that share layers, indexes, signatures and referrers; returns the second of two repositories."""
    chance = random.Random(seed)
    blobs = [world.blob(chance.randrange(1, 1000)) for _ in range(8)]
    other = world.repository("other")
    for repository in (world.default_repository, other):
        made: list[Row] = []
        for n in range(10):
            children = chance.sample(made, min(len(made), 2)) if chance.random() < 0.3 else []
            subject = chance.choice(made).digest if made and chance.random() < 0.2 else None
            layers = [] if children else chance.sample(blobs, 3)
            made.append(world.manifest(repository, blobs=layers, children=children, subject=subject))
            if subject or chance.random() < 0.3:
                world.tag(f"$temp-{n}", manifest=made[-1], hidden=True, start_ms=1)
        for n in range(14):
            name = f"{chance.choice(['v', 'main', 'x'])}{n}"
            aged(world, name, chance.randrange(10), manifest=chance.choice(made))
        for manifest in chance.sample(made, 5):
            name = manifest.digest.replace(":", "-") + chance.choice([".sig", ".att", ""])
            aged(world, name, 1, manifest=world.manifest(repository, blobs=[chance.choice(blobs)]))
        world.hold(chance.choice(made))
    return int(other)


@pytest.mark.parametrize("referrers", ["pin", "cascade"])
@pytest.mark.parametrize("seed", range(8))
def test_a_plan_is_equal_to_the_run_on_a_random_registry(
    world: World, seed: int, referrers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two repositories are planned together, with odd seeds one after the other."""
    monkeypatch.setattr(group, "MOST_TAGS", 1 if seed % 2 else 5_000)
    wheres = [world.repository_id, _registry(world, seed)]
    policy = Policy(referrers=referrers, referrer_grace_ms=0)  # type: ignore[arg-type]
    _settle(world, policy)
    with world.changes() as changes:
        plans = list(plan_retention(wheres, policy=policy, retention=RULES))
        sums = sum_up(plans)
    assert not changes
    at_first = _bytes(world)
    for where, plan in zip(wheres, plans, strict=True):
        manifests, bytes_before = _manifests(world, where), _bytes(world)
        ended, _ = retain(where, RULES, policy=policy)
        assert {tag for rule in plan.by_rule for tag in rule.tags} == ended
        _settle(world, policy)
        assert set(plan.manifest_ids) == manifests - _manifests(world, where)
        freed = bytes_before - _bytes(world)
        # The second repository also frees what both have lost.
        assert plan.freed.bytes == freed if where == wheres[0] else plan.freed.bytes <= freed
        if len(plan.by_rule) == 1:
            assert plan.by_rule[0].bytes == plan.freed.bytes
        assert sum(rule.bytes for rule in plan.by_rule) <= plan.freed.bytes
    assert sums.bytes == at_first - _bytes(world)


def _manifests(world: World, repository: int) -> set[int]:
    return {id for (id,) in world.rows("SELECT id FROM manifest WHERE repository_id = %s", (repository,))}


def _bytes(world: World) -> int:
    return int(world.value("SELECT coalesce(sum(image_size), 0) FROM imagestorage"))


def _settle(world: World, policy: Policy) -> None:
    """Close every window, and collect until nothing is left."""
    world.execute('UPDATE "user" SET removed_tag_expiration_s = 0')
    repositories = [id for (id,) in world.rows("SELECT id FROM repository")]
    world.execute(
        "INSERT INTO dredge_manifest_candidate (repository_id, manifest_id, created_ms)"
        " SELECT repository_id, id, 1 FROM manifest"
    )
    for _ in range(5):
        collect_batches(repositories, policy=policy, limit=1000)
        review_batch(policy=policy, limit=1000)


def test_a_rule_is_planned_alone_and_all_of_them_together(world: World) -> None:
    shared, own = world.blob(100), world.blob(7)
    image = world.manifest(blobs=[shared, own])
    aged(world, "v1", 9, manifest=image)
    for n in (2, 3, 4):
        aged(world, f"v{n}", 4 - n, manifest=image if n == 2 else world.manifest(blobs=[shared]))
    [plan] = plan_retention([world.repository_id], policy=DEFAULT, retention=RULES)
    found = {rule.rule: (rule.tags, rule.bytes) for rule in plan.by_rule}
    assert found == {"old": (("v1",), 0), "few": (("v2",), 0)}
    assert plan.manifest_ids == (image,)


def test_a_blob_that_several_repositories_lose_is_counted_once(world: World) -> None:
    shared, kept = world.blob(100), world.blob(1000)
    wheres = [world.repository(name) for name in ("one", "two", "three")]
    for size, where in enumerate(wheres, 1):
        image = world.manifest(where, blobs=[shared, kept, world.blob(size)])
        aged(world, "v1", 9, manifest=image, repository=where)
    world.hold(world.manifest(blobs=[kept]))
    plans = list(plan_retention([int(where) for where in wheres], policy=DEFAULT, retention=ALL))
    assert [plan.freed.bytes for plan in plans] == [1, 2, 3]
    assert sum_up(plans) == Sums(repositories=3, tags=3, manifests=3, blobs=4, bytes=106)
    # Alone, each of them is the same.
    alone = [plan for where in wheres for plan in plan_retention([int(where)], policy=DEFAULT, retention=ALL)]
    assert [plan.by_rule for plan in alone] == [plan.by_rule for plan in plans]
    assert sum_up(alone) == sum_up(plans)


def test_repositories_are_grouped_by_their_tags_in_their_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "MOST_TAGS", 4)
    wheres = [world.repository(f"r{n}") for n in range(5)]
    for tags, where in zip((1, 3, 9, 0, 2), wheres, strict=True):
        for n in range(tags):
            world.tag(f"t{n}", repository=where)
    found = list(group.group_repositories([int(where) for where in wheres]))
    assert found == [[int(wheres[0]), int(wheres[1])], [int(wheres[2])], [int(wheres[3]), int(wheres[4])]]
    assert list(group.group_repositories([])) == []


def test_each_repository_is_planned_by_its_own_policies(world: World) -> None:
    """Patterns have numbers of their own in each repository, although both are read together."""
    other = world.repository("other")
    for where in (world.default_repository, other):
        for name in ("a", "b", "c"):
            aged(world, name, 9, repository=where)
    namespace_policy(world, {"method": "creation_date", "value": "1d", "tag_pattern": "a"})
    repository_policy(world, {"method": "creation_date", "value": "1d", "tag_pattern": "b"})
    gone = int(other) + 1000
    wheres = [int(other), gone, world.repository_id]
    plans = list(plan_retention(wheres, policy=DEFAULT, retention=QUAY))
    assert [[tag for rule in plan.by_rule for tag in rule.tags] for plan in plans] == [["a"], ["a", "b"]]
