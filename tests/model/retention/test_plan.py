"""The plan of retention rules is what a run and a collection after the window then do."""

from __future__ import annotations

import random

import pytest

from model.gc.collect import collect_batches
from model.gc.review import review_batch
from model.policy import DEFAULT, Policy
from model.retention.plan import plan_retention
from model.retention.policies import RetentionPolicy
from model.retention.rule import Rule
from tests.model.retention.retaining import DAY_MS, aged, retain
from tests.support.world import Row, World

RULES = RetentionPolicy(
    rules=(
        Rule("keep main", "keep", glob="main*"),
        Rule("old", "expire", older_than_ms=5 * DAY_MS),
        Rule("few", "expire", glob="v*", newest=2),
    )
)


def _registry(world: World, seed: int) -> None:
    """Images that share layers, indexes, signatures and referrers, in two repositories."""
    chance = random.Random(seed)
    blobs = [world.blob(chance.randrange(1, 1000)) for _ in range(8)]
    for repository in (world.default_repository, world.repository("other")):
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


@pytest.mark.parametrize("referrers", ["pin", "cascade"])
@pytest.mark.parametrize("seed", range(8))
def test_a_plan_is_equal_to_the_run_on_a_random_registry(world: World, seed: int, referrers: str) -> None:
    _registry(world, seed)
    policy = Policy(referrers=referrers, referrer_grace_ms=0)  # type: ignore[arg-type]
    where = world.repository_id
    _settle(world, policy)
    with world.changes() as changes:
        plan = plan_retention(where, policy=policy, retention=RULES)
    assert not changes
    before = {id for (id,) in world.rows("SELECT id FROM manifest WHERE repository_id = %s", (where,))}
    bytes_before = world.value("SELECT coalesce(sum(image_size), 0) FROM imagestorage")
    ended, _ = retain(where, RULES, policy=policy)
    assert {tag for rule in plan.by_rule for tag in rule.tags} == ended
    _settle(world, policy)
    after = {id for (id,) in world.rows("SELECT id FROM manifest WHERE repository_id = %s", (where,))}
    assert set(plan.manifest_ids) == before - after
    freed = bytes_before - world.value("SELECT coalesce(sum(image_size), 0) FROM imagestorage")
    if len(plan.by_rule) == 1:
        assert plan.by_rule[0].bytes == freed
    assert sum(rule.bytes for rule in plan.by_rule) <= freed


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
    plan = plan_retention(world.repository_id, policy=DEFAULT, retention=RULES)
    found = {rule.rule: (rule.tags, rule.bytes) for rule in plan.by_rule}
    assert found == {"old": (("v1",), 0), "few": (("v2",), 0)}
    assert plan.manifest_ids == (image,)
