"""A file of retention rules (YAML).  Every mistake is reported with its line and the name of the rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from model.errors import RegistryError
from model.retention.duration import parse_age_ms
from model.retention.rule import Rule

LEAST_UNTAGGED_MS = 3_600_000


class BadPolicyFile(RegistryError):
    """The file of retention rules is wrong."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be text")
    return value


def _action(value: Any) -> str:
    if value not in ("keep", "expire"):
        raise ValueError("must be keep or expire")
    return str(value)


def _globs(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not values or not all((isinstance(each, str) and "/" in each) or each == "*" for each in values):
        raise ValueError("must be a list of patterns such as acme/* or acme/app")
    return tuple(values)


def _regex(value: Any) -> str:
    try:
        re.compile(_text(value))
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return str(value)


def _age(value: Any) -> int:
    return parse_age_ms(_text(value))


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("must be a whole number from 1 up")
    return value


def _label(value: Any) -> tuple[str, str | None]:
    key, separator, held = _text(value).partition("=")
    return key, held if separator else None


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


# key in the file: (field of Rule, reader)
KEYS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "name": ("name", _text),
    "action": ("action", _action),
    "repositories": ("repositories", _globs),
    "tags": ("glob", _text),
    "tags_regex": ("regex", _regex),
    "older_than": ("older_than_ms", _age),
    "not_pulled_for": ("not_pulled_for_ms", _age),
    "label": ("label", _label),
    "untagged": ("untagged", _flag),
    "newest": ("newest", _count),
    "newest_version": ("newest_version", _count),
}


def parse_policy_file(text: str) -> tuple[Rule, ...]:
    """Read the rules of a file.  Raises `BadPolicyFile` with all mistakes."""
    document = _compose(text)
    problems: list[str] = []
    rules: dict[str, Rule] = {}
    for node in _rule_nodes(document, problems):
        rule = _rule(node, problems)
        if rule is not None and rule.name in rules:
            problems.append(f"line {_line(node)}: two rules are called {rule.name!r}")
        elif rule is not None:
            rules[rule.name] = rule
    if problems:
        raise BadPolicyFile(problems)
    return tuple(rules.values())


def split_policy_file(text: str) -> dict[str, str]:
    """Return the YAML of each rule of a file by its name.  Raises `BadPolicyFile` with all mistakes."""
    names = [rule.name for rule in parse_policy_file(text)]
    rules = yaml.safe_load(text)["rules"]
    texts = [yaml.safe_dump(rule, sort_keys=False, allow_unicode=True) for rule in rules]
    return dict(zip(names, texts, strict=True))


def parse_rule(text: str) -> Rule:
    """Read the YAML of one rule.  Raises `BadPolicyFile` with all mistakes."""
    problems: list[str] = []
    rule = _rule(_compose(text), problems)
    if rule is None:
        raise BadPolicyFile(problems)
    return rule


def _compose(text: str) -> Any:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise BadPolicyFile([" ".join(str(error).split())]) from None


def _rule_nodes(document: Any, problems: list[str]) -> list[Any]:
    """Return the nodes of all rules, also beside keys that are wrong."""
    nodes: list[Any] = []
    pairs = document.value if isinstance(document, yaml.MappingNode) else []
    for key, value in pairs:
        if _key(key) != "rules":
            problems.append(f"line {_line(key)}: {_key(key)} is not a key of the file: rules")
        elif not isinstance(value, yaml.SequenceNode):
            problems.append(f"line {_line(key)}: rules must be a list of rules")
        else:
            nodes += value.value
    found = [_key(key) for key, _ in pairs].count("rules")
    if found != 1:
        problems.append("line 1: the file must have one key, rules, with a list of rules")
    return nodes


def _line(node: Any) -> int:
    """Return the line on which a node begins; 1 for an empty document."""
    return node.start_mark.line + 1 if node else 1


def _key(node: Any) -> str:
    """Return a key of a mapping; a list or a mapping is no key here."""
    return node.value if isinstance(node, yaml.ScalarNode) else "a list or a mapping"


def _rule(node: Any, problems: list[str]) -> Rule | None:
    line = _line(node)
    if not isinstance(node, yaml.MappingNode):
        problems.append(f"line {line}: a rule must have keys and values")
        return None
    pairs = {_key(key): value for key, value in node.value}
    name = pairs["name"].value if isinstance(pairs.get("name"), yaml.ScalarNode) else "without a name"
    before = len(problems)
    values = _values(node, f"rule {name!r}", problems)
    missing = [key for key in ("name", "action") if key not in pairs]
    problems += [f"line {line}: rule {name!r} has no {key}" for key in missing]
    if len(problems) > before:
        return None
    rule = Rule(**values)
    problems += [f"line {line}: rule {name!r}: {problem}" for problem in _contradictions(rule)]
    return rule if len(problems) == before else None


def _values(node: Any, rule: str, problems: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    loader = yaml.SafeLoader("")
    for key, value in node.value:
        line, word = _line(key), _key(key)
        field, read = KEYS.get(word, ("", _text))
        if not field:
            problems.append(f"line {line}: {rule}: {word} is not a key of a rule: {', '.join(KEYS)}")
        elif field in values:
            problems.append(f"line {line}: {rule}: {word} is given twice")
        else:
            try:
                values[field] = read(loader.construct_object(value, deep=True))
            except ValueError as error:
                problems.append(f"line {line}: {rule}: {word} {error}")
                values[field] = None
    return values


def _contradictions(rule: Rule) -> list[str]:
    found = []
    if rule.glob is not None and rule.regex is not None:
        found.append("give tags or tags_regex, not both")
    if rule.untagged and (rule.action != "expire" or (rule.older_than_ms or 0) < LEAST_UNTAGGED_MS):
        found.append("untagged needs action: expire and older_than of at least 1h")
    if rule.action == "expire" and rule == Rule(rule.name, "expire", repositories=rule.repositories):
        found.append("it has no condition and would end every tag: give one, or tags: '*'")
    return found
