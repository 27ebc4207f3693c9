"""Rules in the database hold beside those of the file; one that is not valid never ends too much."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
import yaml

from model.policy import DEFAULT
from model.retention.apply import end_chosen, judge_repository
from model.retention.audit import list_ended_tags
from model.retention.file import BadPolicyFile
from model.retention.policies import RetentionPolicy
from model.retention.rule import Rule
from model.retention.stored import list_rules, read_stored, remove_rules, store_rules
from tests.model.retention.retaining import DAY_MS, QUAY, aged, alive, fileless, namespace_policy, retain
from tests.support.world import World

OLD = "rules:\n- {name: old, action: expire, tags: 'pr-*', older_than: 1d}\n"
KEEP = "rules:\n- {name: kept, action: keep, tags: pr-1}\n"
NONE = RetentionPolicy()


def _insert(world: World, name: str, rule: str) -> None:
    """As other software writes a row."""
    world.execute(
        "INSERT INTO dredge_retention_rule (name, rule, author, changed_ms) VALUES (%s, %s, 'x', 1)",
        (name, rule),
    )


def test_stored_rules_end_and_keep_tags_and_the_audit_names_them(world: World) -> None:
    for name in ("pr-1", "pr-2", "v1"):
        aged(world, name, 9)
    assert store_rules(OLD, author="ann") == ["old"] and store_rules(KEEP, author="ann") == ["kept"]
    assert retain(world.repository_id, NONE)[0] == {"pr-2"} and alive(world) == {"pr-1", "v1"}
    (audited,) = list_ended_tags(limit=10)
    assert (audited.tag, audited.rule, audited.author) == ("pr-2", "old", "ann")
    assert remove_rules(["kept", "unknown"]) == 1
    assert retain(world.repository_id, NONE)[0] == {"pr-1"} and alive(world) == {"v1"}


def test_a_stored_keep_protects_from_the_file_and_from_quays_policies(world: World) -> None:
    for name in ("pr-1", "pr-2", "v1"):
        aged(world, name, 9)
    namespace_policy(world, {"method": "number_of_tags", "value": 1})
    store_rules(KEEP, author="ann")
    policy = fileless(Rule("all old", "expire", older_than_ms=DAY_MS), autoprune=True)
    retain(world.repository_id, policy)
    assert alive(world) == {"pr-1"}


def test_a_rule_of_the_file_replaces_a_stored_one_of_the_same_name(world: World) -> None:
    for name in ("pr-1", "v1"):
        aged(world, name, 9)
    store_rules(OLD, author="ann")
    assert retain(world.repository_id, fileless(Rule("old", "expire", glob="v*")))[0] == {"v1"}
    assert alive(world) == {"pr-1"}


def test_setting_a_rule_again_replaces_it_and_leaves_the_others(world: World) -> None:
    store_rules(OLD, author="ann"), store_rules(KEEP, author="ann")
    store_rules("rules:\n- {name: old, action: expire, tags: 'x-*'}\n", author="ben")
    kept, old = list_rules()
    assert (kept.name, kept.author, old.author) == ("kept", "ann", "ben") and "x-*" in old.rule
    assert [rule.glob for rule in read_stored().rules] == ["pr-1", "x-*"]


def test_a_file_with_a_mistake_writes_no_row(world: World) -> None:
    store_rules(KEEP, author="ann")
    with world.changes() as changes, pytest.raises(BadPolicyFile, match="line 3: rule 'b'"):
        store_rules("rules:\n- {name: a, action: keep}\n- {name: b, action: destroy}\n", author="ann")
    assert not changes


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("{name: broken, action: expire, older_than: soon}", "older_than 'soon' is not an age"),
        ("{name: other, action: expire, tags: 'v*'}", "its row has the name 'broken', its text 'other'"),
        ("{name: broken, action: expire}", "would end every tag"),
    ],
)
def test_an_invalid_row_that_would_expire_is_skipped_and_seen(world: World, rule: str, problem: str) -> None:
    for name in ("pr-1", "v1"):
        aged(world, name, 9)
    store_rules(OLD, author="ann")
    _insert(world, "broken", rule)
    ended, problems = retain(world.repository_id, NONE)
    assert ended == {"pr-1"} and alive(world) == {"v1"}
    assert len(problems) == 1 and problem in problems[0] and "stored rule 'broken'" in problems[0]
    assert [bool(each.problem) for each in list_rules()] == [True, False]


@pytest.mark.parametrize(
    "rule",
    [
        "{name: broken, action: keep, newest: none}",
        "{name: broken, newest: 5}",
        "{name: broken",
        "",
        "- 5",
        "{name: broken, action: EXPIRE, tags: a}",
        "[" * 1000,
    ],
)
def test_an_invalid_row_that_may_keep_stops_every_end_until_it_is_gone(world: World, rule: str) -> None:
    for name in ("pr-1", "v1"):
        aged(world, name, 9)
    namespace_policy(world, {"method": "number_of_tags", "value": 1})
    store_rules(OLD, author="ann")
    _insert(world, "broken", rule)
    with world.changes() as changes:
        ended, problems = retain(world.repository_id, QUAY)
    assert ended == set() and not changes
    assert problems[0].startswith("stored rule 'broken'") and "until that is mended" in problems[-1]
    remove_rules(["broken"])
    assert retain(world.repository_id, QUAY)[0] == {"pr-1"} and alive(world) == {"v1"}


def test_a_text_that_takes_long_to_read_is_read_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    readers = [Mock(wraps=yaml.compose), Mock(wraps=yaml.safe_load)]
    monkeypatch.setattr(yaml, "compose", readers[0])
    monkeypatch.setattr(yaml, "safe_load", readers[1])
    text = "{broken: " + "[" * 300
    aged(world, "v1", 9)
    _insert(world, "broken", text)
    before = world.snapshot()
    assert [retain(world.repository_id, NONE)[1][0] for _ in range(5)] == [read_stored().problems[0]] * 5
    # Once for the rule, and once for whether it may protect tags.
    assert [reader.call_count for reader in readers] == [1, 1] and world.snapshot() == before


def test_a_stored_rule_that_changes_after_the_judgement_ends_nothing_of_it(world: World) -> None:
    for name in ("pr-1", "v1"):
        aged(world, name, 9)
    store_rules(OLD, author="ann")
    judged = judge_repository(world.repository_id, policy=DEFAULT, retention=NONE)
    store_rules(KEEP, author="ben")
    assert end_chosen(judged, judged.chosen, policy=DEFAULT, retention=NONE).stale
    assert alive(world) == {"pr-1", "v1"}


def test_odd_text_survives_the_row(world: World) -> None:
    name = "straße 😀 #1: 'x' \"y\""
    aged(world, "v1", 9)
    text = f"rules:\n- name: {name!r}\n  action: expire\n  tags_regex: 'v\\d+'\n".replace("\\'", "''")
    assert store_rules(text, author="ann") == [name]
    assert read_stored().problems == () and read_stored().rules[0].name == name
    assert retain(world.repository_id, NONE)[0] == {"v1"}
