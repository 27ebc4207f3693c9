"""A file of retention rules: read whole, or refused with every mistake."""

from __future__ import annotations

import pytest

from model.retention.file import BadPolicyFile, parse_policy_file
from model.retention.rule import Rule

GOOD = """
rules:
  - name: keep releases
    action: keep
    repositories: [acme/*, other/app]
    tags: v*
    newest_version: 5
  - name: clean up
    action: expire
    tags_regex: "pr-[0-9]+"
    older_than: 2w
    not_pulled_for: 5d
    label: stage=dev
    newest: 3
  - name: pushed by digest
    action: expire
    untagged: true
    older_than: 1d
"""
DAY_MS = 86_400_000


def test_every_key_is_read() -> None:
    assert parse_policy_file(GOOD) == (
        Rule("keep releases", "keep", repositories=("acme/*", "other/app"), glob="v*", newest_version=5),
        Rule(
            "clean up",
            "expire",
            regex="pr-[0-9]+",
            older_than_ms=14 * DAY_MS,
            not_pulled_for_ms=5 * DAY_MS,
            label=("stage", "dev"),
            newest=3,
        ),
        Rule("pushed by digest", "expire", untagged=True, older_than_ms=DAY_MS),
    )


def test_a_rule_covers_its_repositories_only() -> None:
    rule = parse_policy_file(GOOD)[0]
    paths = ("acme/app", "acme/a/b", "other/app", "other/app2")
    assert [rule.covers(path) for path in paths] == [True, True, True, False]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: the file must have one key, rules"),
        ("rules: 5", "line 1: rules must be a list of rules"),
        ("[]", "line 1: the file must have one key, rules"),
        ("rules: []\nrules: []", "line 1: the file must have one key, rules"),
        ("rules: []\nodd: 1", "line 2: odd is not a key of the file"),
        ("rules: []\n? [a]\n: 1", "line 2: a list or a mapping is not a key of the file"),
        ("rules:\n- ? [a]\n  : 1", "line 2: rule 'without a name': a list or a mapping is not a key"),
        ("rules: [", "line 1"),
        ("rules:\n- 5", "line 2: a rule must have keys"),
        ("rules:\n- name: a\n  tags: x", "line 2: rule 'a' has no action"),
        ("rules:\n- action: keep", "line 2: rule 'without a name' has no name"),
        ("rules:\n- name: a\n  action: delete", "line 3: rule 'a': action must be keep or expire"),
        ("rules:\n- name: a\n  action: keep\n  older: 5d", "line 4: rule 'a': older is not a key"),
        ("rules:\n- name: a\n  action: keep\n  older_than: 5", "line 4: rule 'a': older_than must be text"),
        ("rules:\n- name: a\n  action: keep\n  older_than: 5x", "line 4: rule 'a': older_than '5x' is not"),
        ("rules:\n- name: a\n  action: keep\n  newest: 0", "line 4: rule 'a': newest must be a whole"),
        ("rules:\n- name: a\n  action: keep\n  newest: true", "line 4: rule 'a': newest must be a whole"),
        ("rules:\n- name: a\n  action: keep\n  tags_regex: (", "line 4: rule 'a': tags_regex is not"),
        ("rules:\n- name: a\n  action: keep\n  untagged: 1", "line 4: rule 'a': untagged must be true"),
        ("rules:\n- name: a\n  action: keep\n  repositories: [app]", "line 4: rule 'a': repositories"),
        ("rules:\n- name: a\n  action: keep\n  tags: x\n  tags: y", "line 5: rule 'a': tags is given twice"),
        ("rules:\n- name: a\n  action: keep\n  tags: x\n  tags_regex: y", "give tags or tags_regex"),
        ("rules:\n- name: a\n  action: expire", "would end every tag"),
        ("rules:\n- name: a\n  action: expire\n  untagged: true\n  older_than: 5m", "at least 1h"),
        ("rules:\n- {name: a, action: keep}\n- {name: a, action: keep}", "line 3: two rules are called 'a'"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_rule(text: str, problem: str) -> None:
    with pytest.raises(BadPolicyFile) as refused:
        parse_policy_file(text)
    assert problem in str(refused.value)


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(BadPolicyFile) as refused:
        parse_policy_file("rules:\n- {name: a, action: x, newest: 0}\n- {name: b, action: keep, odd: 1}\n")
    assert len(refused.value.problems) == 3
    with pytest.raises(BadPolicyFile) as refused:
        parse_policy_file("version: 2\nrules:\n- {name: a, action: x}\n- 5\nodd: 1\n")
    assert [problem.partition(":")[0] for problem in refused.value.problems] == [
        "line 1", "line 5", "line 3", "line 4"
    ]  # fmt: skip
