"""Retention rules in the database: one row for each rule, as YAML.

A row is checked when it is written, and again when it is read, because other software may write it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import yaml

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch, transaction
from model.retention.file import BadPolicyFile, parse_rule, split_policy_file
from model.retention.rule import Rule

_LIST = "SELECT name, rule, author, changed_ms FROM dredge_retention_rule ORDER BY name"

_SET = f"""
INSERT INTO dredge_retention_rule (name, rule, author, changed_ms)
VALUES (%(name)s, %(rule)s, %(author)s, {NOW_MS_SQL})
ON CONFLICT (name) DO UPDATE
SET rule = excluded.rule, author = excluded.author, changed_ms = excluded.changed_ms
"""

_REMOVE = "DELETE FROM dredge_retention_rule WHERE name = ANY(%(names)s)"


@dataclass(frozen=True)
class StoredRule:
    """One row: the rule as YAML, who wrote it when, and why it is not valid (None if it is)."""

    name: str
    rule: str
    author: str
    changed_ms: int
    problem: str | None = None


@dataclass(frozen=True)
class StoredRules:
    """The valid rules of the table, and why others are skipped.

    `blocks`: one of the others may be a `keep`, so that nobody knows what must not end.
    """

    rules: tuple[Rule, ...] = ()
    problems: tuple[str, ...] = ()
    blocks: bool = False


def store_rules(text: str, *, author: str) -> list[str]:
    """Write the rules of a YAML file as rows, in one transaction; a row of the same name is replaced.

    Other rows stay.  Returns the names.  Raises `BadPolicyFile`, with nothing written.  Idempotent.
    """
    rules = split_policy_file(text)
    with transaction():
        for name, rule in rules.items():
            execute(_SET, {"name": name, "rule": rule, "author": author[:200]})
    return list(rules)


def remove_rules(names: list[str]) -> int:
    """Delete the rows of these names.  Returns how many there were.  Idempotent."""
    return execute(_REMOVE, {"names": names})


def list_rules() -> list[StoredRule]:
    """Return every row, by name; only reads."""
    return [replace(found, problem=_read(found)[1]) for found in _rows()]


def read_stored(*, replaced: frozenset[str] = frozenset()) -> StoredRules:
    """Return the rules of the table, without the names that are `replaced`; only reads."""
    rules: list[Rule] = []
    problems: list[str] = []
    blocks = False
    for found in _rows():
        if found.name in replaced:
            continue
        rule, problem = _read(found)
        if rule is not None:
            rules.append(rule)
        else:
            problems.append(f"stored rule {found.name!r}: {problem}")
            blocks |= _may_keep(found.rule)
    return StoredRules(tuple(rules), tuple(problems), blocks)


def has_rules() -> bool:
    """Return whether the table has a row.  Only reads."""
    return bool(fetch("SELECT FROM dredge_retention_rule LIMIT 1"))


def _rows() -> list[StoredRule]:
    return [StoredRule(*row) for row in fetch(_LIST)]


def _read(found: StoredRule) -> tuple[Rule | None, str | None]:
    rule, problem = _parse(found.rule)
    if rule is not None and rule.name != found.name:
        return None, f"its row has the name {found.name!r}, its text {rule.name!r}"
    return rule and replace(rule, author=found.author), problem


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Rule | None, str | None]:
    """Read one rule.  Cached, because a run reads the same rules for each repository and batch."""
    try:
        return parse_rule(text), None
    except BadPolicyFile as error:
        return None, str(error)


@lru_cache(maxsize=4096)
def _may_keep(text: str) -> bool:
    """Return whether an invalid rule may protect tags.  Cached, as PyYAML reads some texts for seconds."""
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return True
    return not isinstance(found, Mapping) or found.get("action") != "expire"
