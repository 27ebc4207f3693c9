"""Retention rules of our own, without a database."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.retention.rule import Rule, TagFacts, judge
from model.retention.version import parse_version

NOW = 10_000_000


def tag(id: int, name: str = "", *, start_ms: int = 0, **more: Any) -> TagFacts:
    facts: dict[str, Any] = {
        "repository_id": 1,
        "name": name or f"t{id}",
        "manifest_id": id,
        "digest": f"sha256:{id:064x}",
        "start_ms": start_ms,
        "end_ms": None,
        "hidden": False,
        "immutable": False,
        "in_use": False,
        "pulled_ms": None,
        "labels": frozenset(),
        "patterns": frozenset(),
    }
    return TagFacts(id=id, **(facts | more))


def ended(tags: list[TagFacts], *rules: Rule, now_ms: int = NOW) -> set[str]:
    verdict = judge(tags, in_turn=(), together=rules, now_ms=now_ms)
    return {each.name for each in tags if each.id in verdict.ended}


EVERYTHING = Rule("all", "expire", glob="*")


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (Rule("r", "expire", glob="v*"), {"v1", "v2"}),
        (Rule("r", "expire", regex="v[0-9]"), {"v1", "v2"}),
        (Rule("r", "expire", regex="v"), set()),
        (Rule("r", "expire", older_than_ms=5_000), {"v1"}),
        (Rule("r", "expire", not_pulled_for_ms=5_000), {"main"}),
        (Rule("r", "expire", label=("stage", "dev")), {"v2"}),
        (Rule("r", "expire", label=("stage", None)), {"v2", "main"}),
        (Rule("r", "expire", newest=1), {"v1", "main"}),
        (Rule("r", "expire", glob="v*", newest=1), {"v1"}),
        (Rule("r", "expire", newest_version=1), {"v1"}),
    ],
)
def test_a_rule_ends_the_tags_that_meet_all_its_conditions(rule: Rule, names: set[str]) -> None:
    tags = [
        tag(1, "v1", start_ms=NOW - 6_000, pulled_ms=NOW - 10),
        tag(2, "v2", start_ms=NOW - 100, labels=frozenset({("stage", "dev")})),
        tag(3, "main", start_ms=NOW - 5_000, pulled_ms=NOW - 6_000, labels=frozenset({("stage", "prod")})),
    ]
    if rule.newest_version:
        tags[0], tags[1] = tags[0]._replace(name="v1.0.0"), tags[1]._replace(name="v1.1.0")
        names = {"v1.0.0"}
    if rule.not_pulled_for_ms:
        tags[2] = tags[2]._replace(start_ms=NOW - 7_000)
    assert ended(tags, rule) == names


def test_a_tag_that_was_never_pulled_is_as_old_as_it_is() -> None:
    tags = [tag(1, "old", start_ms=NOW - 9_000), tag(2, "new", start_ms=NOW - 1_000)]
    assert ended(tags, Rule("r", "expire", not_pulled_for_ms=5_000)) == {"old"}


def test_case_74_keep_wins_whatever_the_order() -> None:
    tags = [tag(n, name, start_ms=n) for n, name in enumerate(["v1.0", "v2.0", "pr-1", "pr-2"])]
    rules = [
        Rule("keep releases", "keep", glob="v*"),
        EVERYTHING,
        Rule("keep the newest", "keep", newest=1),
    ]
    for order in itertools.permutations(rules):
        assert ended(tags, *order) == {"pr-1"}


def test_what_is_immutable_or_runs_is_kept_by_every_rule() -> None:
    tags = [tag(1, "fixed", immutable=True), tag(2, "running", in_use=True), tag(3, "other")]
    assert ended(tags, EVERYTHING) == {"other"}


def test_untagged_ends_only_what_holds_a_manifest_for_a_time() -> None:
    tags = [
        tag(1, "$temp-1", hidden=True, end_ms=NOW + 1, start_ms=0),
        tag(2, "$temp-2", hidden=True, end_ms=None, start_ms=0),
        tag(3, "visible", start_ms=0),
    ]
    assert ended(tags, Rule("r", "expire", untagged=True, older_than_ms=1)) == {"$temp-1"}
    assert ended(tags, EVERYTHING) == {"visible"}


def test_versions_are_in_the_order_of_their_specification() -> None:
    ordered = [
        "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
        "1.0.0-rc.1", "1.0.0", "v1.2", "1.10.0", "2.0.0",
    ]  # fmt: skip
    shuffled = ordered[:]
    random.Random(1).shuffle(shuffled)
    assert sorted(shuffled, key=lambda name: parse_version(name) or ()) == ordered
    assert [parse_version(name) for name in ("latest", "1", "01.2.3", "v", "1.2.3.4")] == [None] * 5


# ------------------------------------------------------- an oracle, in plain Python

names = st.sampled_from(["v1.0", "v1.1", "v2.0-rc1", "main", "pr-1", "pr-2", "latest"])
facts = st.builds(
    lambda id, name, start, pulled, immutable, in_use, stage: tag(
        id, f"{name}", start_ms=start, pulled_ms=pulled, immutable=immutable, in_use=in_use,
        labels=frozenset({("stage", stage)}) if stage else frozenset(),
    ),
    st.integers(1, 10_000), names, st.integers(0, 50), st.none() | st.integers(0, 50), st.booleans(),
    st.booleans(), st.sampled_from(["", "dev", "prod"]),
)  # fmt: skip
rules = st.builds(
    Rule,
    st.uuids().map(str),
    st.sampled_from(["keep", "expire"]),
    glob=st.none() | st.sampled_from(["v*", "pr-?", "*"]),
    older_than_ms=st.none() | st.integers(0, 60),
    not_pulled_for_ms=st.none() | st.integers(0, 60),
    label=st.none() | st.just(("stage", "dev")),
    newest=st.none() | st.integers(1, 3),
)


def expected(tags: list[TagFacts], written: list[Rule], now_ms: int) -> set[int]:
    """What the documentation says, as slowly and as literally as possible."""
    gone, kept = set(), set()
    for rule in written:
        group = []
        for each in tags:
            last = each.start_ms if each.pulled_ms is None else max(each.start_ms, each.pulled_ms)
            meets = [
                rule.glob in (None, "*") or (each.name.startswith(str(rule.glob).rstrip("*?"))
                and (rule.glob != "pr-?" or len(each.name) == 4)),
                rule.older_than_ms is None or each.start_ms + rule.older_than_ms < now_ms,
                rule.not_pulled_for_ms is None or last + rule.not_pulled_for_ms < now_ms,
                rule.label is None or rule.label in (each.labels or ()),
            ]  # fmt: skip
            if all(meets):
                group.append(each)
        group.sort(key=lambda each: (-each.start_ms, -each.id))
        newest = group[: rule.newest] if rule.newest else []
        if rule.action == "keep":
            kept |= {each.id for each in (newest if rule.newest else group)}
        else:
            gone |= {each.id for each in group if each not in newest}
    return {each.id for each in tags if each.id in gone - kept and not each.immutable and not each.in_use}


@settings(max_examples=120, deadline=None)
@given(st.lists(facts, max_size=12, unique_by=lambda each: each.id), st.lists(rules, max_size=5))
def test_rules_say_what_the_oracle_says_and_their_order_does_not_matter(
    tags: list[TagFacts], written: list[Rule]
) -> None:
    wanted = expected(tags, written, 60)
    for order in (written, written[::-1]):
        assert set(judge(tags, in_turn=(), together=order, now_ms=60).ended) == wanted


@settings(max_examples=60, deadline=None)
@given(st.lists(facts, max_size=12, unique_by=lambda each: each.id), st.lists(rules, max_size=5))
def test_while_the_spared_live_no_ended_tag_is_spared(tags: list[TagFacts], written: list[Rule]) -> None:
    """What else dies or comes meanwhile takes nobody out of the judgement, which is made only once."""
    first = judge(tags, in_turn=(), together=written, now_ms=60)
    stay = [each for each in tags if each.id in first.spared or each.id in first.ended]
    again = judge([*stay, tag(20_000, "v9.9", start_ms=59)], in_turn=(), together=written, now_ms=60)
    assert set(first.ended) <= set(again.ended)
