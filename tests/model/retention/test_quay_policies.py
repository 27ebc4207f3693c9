"""Quay's auto-prune policies, case by case: what each ends, what it leaves, and what it says of mistakes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.retention.policies import RetentionPolicy
from model.retention.quay_policy import InvalidPolicy, parse_policy
from model.retention.rule import Rule
from tests.model.retention.quay_policy_cases import AGE, CASES, COUNT, PAGE, cases_page
from tests.model.retention.retaining import DAY_MS, aged, alive, namespace_policy, repository_policy, retain
from tests.model.retention.test_rules import tag
from tests.support.world import World, digest_of


@pytest.mark.parametrize(
    ("case", "level"),
    [(case, "namespace") for case in CASES]
    + [(case, level) for case in list(CASES)[:1] for level in ("repository", "registry")],
)
def test_a_policy_ends_what_quay_ends(world: World, case: str, level: str) -> None:
    policy, ages, expected = CASES[case]
    tags = {name: aged(world, name, days) for name, days in ages.items()}
    retention = RetentionPolicy(autoprune=True)
    if level == "registry":
        retention = RetentionPolicy(default=json.dumps(policy))
    else:
        (namespace_policy if level == "namespace" else repository_policy)(world, policy)
    other = world.tag("bystander", repository=world.repository("other"))
    ended, problems = retain(world.repository_id, retention)
    assert (ended, problems) == (expected, ())
    assert alive(world) == set(tags) - expected
    assert alive(world, other.repository) == {"bystander"}
    audited = world.rows("SELECT tag, author FROM dredge_ended_tag")
    assert sorted(audited) == [(name, "autoprune") for name in sorted(expected)]


def test_an_age_ends_a_tag_after_it_and_not_at_it(world: World) -> None:
    rule = Rule("edge", "expire", older_than_ms=1000)
    old = tag(1, start_ms=5000)
    assert rule.select([old], now_ms=6000) == []
    assert rule.select([old], now_ms=6001) == [old]


def test_hidden_and_immutable_tags_and_signatures_are_not_ended(world: World) -> None:
    namespace_policy(world, {"method": AGE, "value": "1d"})
    kept = aged(world, "kept", 9, immutable=True)
    held = aged(world, "$temp-1", 9, hidden=True, ended_ms=world.now_ms + DAY_MS)
    signature = aged(world, f"sha256-{'a' * 64}.sig", 9)
    doomed = aged(world, "doomed", 9)
    assert retain(world.repository_id)[0] == {"doomed"}
    ends = dict(world.rows("SELECT id, lifetime_end_ms FROM tag"))
    assert ends[int(kept)] is None and ends[int(signature)] is None
    assert ends[int(held)] == held.ended_ms and ends[int(doomed)] is not None


def test_an_immutable_tag_counts_among_the_newest(world: World) -> None:
    namespace_policy(world, {"method": COUNT, "value": 2})
    for days, immutable in ((4, False), (3, True), (2, False), (1, True)):
        aged(world, f"t{days}", days, immutable=immutable)
    assert retain(world.repository_id)[0] == {"t4"}
    assert alive(world) == {"t3", "t2", "t1"}


def test_a_signature_goes_with_its_image_and_both_are_audited(world: World) -> None:
    namespace_policy(world, {"method": AGE, "value": "1d"})
    image = world.manifest(digest=digest_of("image"))
    aged(world, "v1", 9, manifest=image)
    aged(world, f"{image.digest.replace(':', '-')}.sig", 0.1)
    retain(world.repository_id)
    assert alive(world) == set()
    rules = dict(world.rows("SELECT tag, rule FROM dredge_ended_tag"))
    assert len(rules) == 2 and "goes with its subject" in rules.values()
    assert world.value("SELECT count(*) FROM dredge_event WHERE type = 'registry.tag.deleted'") == 2


def test_several_policies_run_in_turn_the_namespaces_first(world: World) -> None:
    """Each sees what the ones before it have left, so that the order changes what is ended."""
    namespace_policy(world, {"method": AGE, "value": "5d", "tag_pattern": "^x"})
    repository_policy(world, {"method": COUNT, "value": 2})
    for name, days in (("x-new", 6), ("a", 7), ("b", 8), ("c", 9)):
        aged(world, name, days)
    assert retain(world.repository_id)[0] == {"x-new", "c"}
    assert alive(world) == {"a", "b"}


def test_the_policy_of_another_namespace_does_not_hold_here(world: World) -> None:
    aged(world, "old", 100)
    namespace_policy(world, {"method": AGE, "value": "1d"}, namespace=world.namespace())
    with world.changes() as changes:
        assert retain(world.repository_id) == (set(), ())
    assert not changes


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("{nonsense", "not JSON"),
        ("[1]", "not a JSON object"),
        ({"method": "newest", "value": 1}, "method must be"),
        ({"value": 1}, "method must be"),
        ({"method": COUNT, "value": 0}, "whole number"),
        ({"method": COUNT, "value": "3"}, "whole number"),
        ({"method": COUNT, "value": True}, "whole number"),
        ({"method": AGE, "value": 5}, "an age"),
        ({"method": AGE, "value": "5 days"}, "not an age"),
        ({"method": AGE, "value": "0d"}, "not an age"),
        ({"method": AGE, "value": "1d", "tag_pattern": 5}, "tag_pattern must be text"),
        ({"method": AGE, "value": "1d", "tag_pattern_matches": "yes"}, "must be true or false"),
        ({"method": AGE, "value": "1d", "tag_pattern": "("}, "not a regular expression of PostgreSQL"),
    ],
)
def test_an_invalid_policy_is_skipped_and_named_and_the_others_run(
    world: World, policy: Any, says: str
) -> None:
    namespace_policy(world, policy)
    repository_policy(world, {"method": COUNT, "value": 1})
    aged(world, "old", 2)
    aged(world, "new", 1)
    ended, problems = retain(world.repository_id)
    assert ended == {"old"} and len(problems) == 1
    assert says in problems[0] and problems[0].startswith("namespace policy ")


def test_a_policy_that_is_text_is_refused_before_anything_is_read() -> None:
    with pytest.raises(InvalidPolicy, match="registry-wide"):
        parse_policy("registry-wide policy", "")


def test_switched_off_quays_policies_are_left_to_quay(world: World) -> None:
    namespace_policy(world, {"method": COUNT, "value": 1})
    aged(world, "old", 2)
    aged(world, "new", 1)
    with world.changes() as changes:
        assert retain(world.repository_id, RetentionPolicy()) == (set(), ())
    assert not changes


def test_the_page_of_cases_shows_what_is_tested() -> None:
    assert PAGE.read_text() == cases_page(), "run make docs"
