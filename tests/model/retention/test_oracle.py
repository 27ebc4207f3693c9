"""Policies and rules on random registries against an oracle in plain Python."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from model.retention.policies import RetentionPolicy
from model.retention.stored import store_rules
from tests.model.retention.retaining import DAY_MS, alive, retain
from tests.support.world import World

Facts = dict[str, Any]
HOURS = {"30m": 0.5, "12h": 12, "2d": 48, "1w": 168}
NAMES = ("v1.0.0", "v1.2.0-rc.1", "v1.2.0", "v2.0.0", "1.10", "pr-1", "pr-22", "main", "latest", "x")


def _registry(world: World, chance: random.Random) -> list[Facts]:
    """Tags with ages that tie and lie far from every limit; some immutable, pulled, labelled or running."""
    made = []
    for name in chance.sample(NAMES, chance.randrange(4, len(NAMES))):
        manifest = world.manifest()
        hours = chance.choice([0.1, 6, 6, 24, 100, 100, 400])
        facts: Facts = {
            "name": name,
            "hours": hours,
            "immutable": chance.random() < 0.15,
            "running": chance.random() < 0.1,
            "labelled": chance.random() < 0.3,
            "pulled": chance.choice([None, None, 0.1, 24, 100]),
        }
        start_ms = world.now_ms - int(hours * DAY_MS / 24)
        tag = world.tag(name, manifest=manifest, start_ms=start_ms, immutable=facts["immutable"])
        facts["order"] = (start_ms, int(tag))
        if facts["running"]:
            world.execute("INSERT INTO dredge_in_use (digest) VALUES (%s)", (manifest.digest,))
        if facts["labelled"]:
            world.label(manifest, "stage", "dev")
        if facts["pulled"] is not None:
            world.tag_pulls(name)
            world.execute(
                "UPDATE tagpullstatistics SET last_tag_pull_date = now() AT TIME ZONE 'UTC'"
                " - make_interval(secs => %s) WHERE tag_name = %s",
                (3600 * facts["pulled"], name),
            )
        made.append(facts)
    return made


def _policies(chance: random.Random) -> list[dict[str, Any]]:
    made = []
    for _ in range(chance.randrange(3)):
        if chance.random() < 0.5:
            policy: dict[str, Any] = {"method": "number_of_tags", "value": chance.randrange(1, 5)}
        else:
            policy = {"method": "creation_date", "value": chance.choice(list(HOURS))}
        if chance.random() < 0.5:
            policy["tag_pattern"] = chance.choice(["^v", "1", "pr-.$", "^latest$"])
            policy["tag_pattern_matches"] = chance.choice([True, False, None])
        made.append(policy)
    return made


def _rules(chance: random.Random) -> list[dict[str, Any]]:
    made = []
    for n in range(chance.randrange(4)):
        rule: dict[str, Any] = {"name": f"r{n}", "action": chance.choice(["keep", "expire", "expire"])}
        key = chance.choice(["tags", "tags_regex"])
        rule[key] = chance.choice(["v*", "*", "pr-?"] if key == "tags" else ["v.*", "pr-[0-9]+", "main"])
        for condition, values in (
            ("older_than", list(HOURS)),
            ("not_pulled_for", list(HOURS)),
            ("label", ["stage=dev", "stage", "stage=prod"]),
            ("newest", [1, 2, 3]),
            ("newest_version", [1, 2]),
        ):
            if chance.random() < 0.25:
                rule[condition] = chance.choice(values)
        made.append(rule)
    return made


def expected(tags: list[Facts], policies: list[dict[str, Any]], rules: list[dict[str, Any]]) -> set[str]:
    """The names that end."""
    kept = {tag["name"] for rule in rules if rule["action"] == "keep" for tag in _chosen(rule, tags)}

    def may_end(tag: Facts) -> bool:
        return not tag["immutable"] and not tag["running"] and tag["name"] not in kept

    ended: set[str] = set()
    for policy in policies:
        left = [tag for tag in tags if tag["name"] not in ended]
        ended |= {tag["name"] for tag in _pruned(policy, left) if may_end(tag)}
    for rule in rules:
        if rule["action"] == "expire":
            ended |= {tag["name"] for tag in _chosen(rule, tags) if may_end(tag)}
    return ended


def _pruned(policy: dict[str, Any], tags: list[Facts]) -> list[Facts]:
    pattern, wanted = policy.get("tag_pattern"), policy.get("tag_pattern_matches")
    if pattern:
        wanted = True if wanted is None else wanted
        tags = [tag for tag in tags if bool(re.search(pattern, tag["name"])) == wanted]
    if policy["method"] == "number_of_tags":
        return sorted(tags, key=lambda tag: tag["order"])[: -policy["value"]]
    return [tag for tag in tags if tag["hours"] > HOURS[policy["value"]]]


def _chosen(rule: dict[str, Any], tags: list[Facts]) -> list[Facts]:
    chosen = [tag for tag in tags if all(test(tag) for test in _tests(rule))]
    if "newest" not in rule and "newest_version" not in rule:
        return chosen
    newest = []
    if "newest" in rule:
        newest += sorted(chosen, key=lambda tag: tag["order"])[-rule["newest"] :]
    if "newest_version" in rule:
        newest += sorted(chosen, key=lambda tag: VERSIONS[tag["name"]])[-rule["newest_version"] :]
    if rule["action"] == "keep":
        return newest
    return [tag for tag in chosen if tag not in newest]


# The versions among the names, in the order of https://semver.org.
VERSIONS = {name: n for n, name in enumerate(["v1.0.0", "v1.2.0-rc.1", "v1.2.0", "1.10", "v2.0.0"])}
REGEX = {"v*": "v.*", "*": ".*", "pr-?": "pr-."}


def _tests(rule: dict[str, Any]) -> list[Callable[[Facts], bool]]:
    tests: list[Callable[[Facts], bool]] = []
    pattern = rule.get("tags_regex") or REGEX[rule["tags"]]
    tests.append(lambda tag: re.fullmatch(pattern, tag["name"]) is not None)
    if "older_than" in rule:
        tests.append(lambda tag: tag["hours"] > HOURS[rule["older_than"]])
    if "not_pulled_for" in rule:
        limit = HOURS[rule["not_pulled_for"]]
        tests.append(lambda tag: min(tag["hours"], tag["pulled"] or tag["hours"]) > limit)
    if "label" in rule:
        tests.append(lambda tag: tag["labelled"] and rule["label"] != "stage=prod")
    if "newest_version" in rule:
        tests.append(lambda tag: tag["name"] in VERSIONS)
    return tests


@pytest.mark.parametrize("seed", range(40))
def test_rules_end_what_the_oracle_says(world: World, seed: int) -> None:
    chance = random.Random(seed)
    tags, policies, rules = _registry(world, chance), _policies(chance), _rules(chance)
    for policy in policies:
        world.insert(
            "namespaceautoprunepolicy",
            uuid=str(len(world.rows("SELECT 1 FROM namespaceautoprunepolicy"))),
            namespace_id=world.namespace_id,
            policy=json.dumps(policy),
        )
    bystander = world.tag("x", repository=world.repository("other", namespace=world.namespace("other")))
    _store(rules)
    wanted = expected(tags, policies, rules)
    ended, problems = retain(world.repository_id, RetentionPolicy(autoprune=True))
    assert (ended, problems) == (wanted, ()), f"{policies} {rules} {tags}"
    assert alive(world) == {tag["name"] for tag in tags} - wanted
    assert alive(world, bystander.repository) == {"x"}
    assert {name for (name,) in world.rows("SELECT tag FROM dredge_ended_tag")} == wanted


def _store(rules: list[dict[str, Any]]) -> None:
    if rules:
        store_rules(yaml.safe_dump({"rules": rules}), author="ann")
