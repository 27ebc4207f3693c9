"""Quay's auto-prune policies, read from their JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from model.retention.duration import parse_age_ms
from model.retention.rule import Rule


class InvalidPolicy(ValueError):
    """The policy is not one that Quay would accept: it is skipped, and says why."""


@dataclass(frozen=True)
class QuayPolicy:
    """One policy: of the matching names, keep the `count` newest, or end those older than `age_ms`."""

    name: str
    count: int | None = None
    age_ms: int | None = None
    tag_pattern: str | None = None
    tag_pattern_matches: bool = True

    def as_rule(self, pattern: int | None) -> Rule:
        """Return the same as a rule; `pattern` is the number of its regular expression in `TagFacts`."""
        return Rule(
            self.name,
            "expire",
            author="autoprune",
            pattern=pattern,
            pattern_matches=self.tag_pattern_matches,
            older_than_ms=self.age_ms,
            newest=self.count,
        )


def parse_policy(name: str, text: str) -> QuayPolicy:
    """Read a policy's JSON; raises `InvalidPolicy`."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidPolicy(f"{name}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InvalidPolicy(f"{name}: not a JSON object")
    pattern, matches = found.get("tag_pattern"), found.get("tag_pattern_matches", True)
    if pattern is not None and not isinstance(pattern, str):
        raise InvalidPolicy(f"{name}: tag_pattern must be text")
    # An empty pattern means no pattern, and `null` the default: Quay's form writes both.
    matches = True if matches is None else matches
    if not isinstance(matches, bool):
        raise InvalidPolicy(f"{name}: tag_pattern_matches must be true or false")
    count, age_ms = _value(name, found.get("method"), found.get("value"))
    return QuayPolicy(name, count, age_ms, pattern or None, matches)


def _value(name: str, method: Any, value: Any) -> tuple[int | None, int | None]:
    if method == "number_of_tags":
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidPolicy(f"{name}: the value of number_of_tags must be a whole number from 1 up")
        return value, None
    if method == "creation_date":
        if not isinstance(value, str):
            raise InvalidPolicy(f"{name}: the value of creation_date must be an age such as 5d")
        try:
            return None, parse_age_ms(value)
        except ValueError as error:
            raise InvalidPolicy(f"{name}: {error}") from None
    raise InvalidPolicy(f"{name}: method must be number_of_tags or creation_date")
