"""The cases of Quay's policies that the tests run, and the page that shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "auto-prune.md"

COUNT, AGE = "number_of_tags", "creation_date"

# (policy, {tag: days old}, the tags that end)
CASES: dict[str, tuple[dict[str, Any], dict[str, float], set[str]]] = {
    "the newest stay": ({"method": COUNT, "value": 2}, {"a": 3, "b": 2, "c": 1}, {"a"}),
    "fewer than allowed": ({"method": COUNT, "value": 5}, {"a": 3, "b": 2}, set()),
    "exactly as many": ({"method": COUNT, "value": 2}, {"a": 3, "b": 2}, set()),
    "one stays": ({"method": COUNT, "value": 1}, {"a": 3, "b": 2, "c": 1}, {"a", "b"}),
    "a tie: the later row is newer": ({"method": COUNT, "value": 1}, {"a": 1, "b": 1, "c": 1}, {"a", "b"}),
    "of those that match": (
        {"method": COUNT, "value": 1, "tag_pattern": "^v"},
        {"v1": 3, "v2": 2, "main": 9},
        {"v1"},
    ),
    "a pattern is found anywhere in the name": (
        {"method": COUNT, "value": 1, "tag_pattern": "rc"},
        {"v1-rc1": 3, "v1-rc2": 2, "v1": 9},
        {"v1-rc1"},
    ),
    "of those that do not match": (
        {"method": COUNT, "value": 1, "tag_pattern": "^v", "tag_pattern_matches": False},
        {"v1": 3, "v2": 2, "main": 9, "next": 1},
        {"main"},
    ),
    "a pattern that matches nothing": (
        {"method": COUNT, "value": 1, "tag_pattern": "^never$"},
        {"a": 3, "b": 2},
        set(),
    ),
    "an empty pattern is none": ({"method": COUNT, "value": 1, "tag_pattern": ""}, {"a": 3, "b": 2}, {"a"}),
    "matches is true by default": (
        {"method": COUNT, "value": 1, "tag_pattern": "a", "tag_pattern_matches": None},
        {"a1": 3, "a2": 2, "b": 9},
        {"a1"},
    ),
    "patterns are PostgreSQL's": (
        {"method": COUNT, "value": 1, "tag_pattern": r"^\d+$"},
        {"1": 3, "22": 2, "x": 9},
        {"1"},
    ),
    "older than days": ({"method": AGE, "value": "5d"}, {"a": 5.1, "b": 4.9}, {"a"}),
    "older than weeks": ({"method": AGE, "value": "2w"}, {"a": 14.1, "b": 13.9}, {"a"}),
    "older than hours": ({"method": AGE, "value": "12h"}, {"a": 0.6, "b": 0.4}, {"a"}),
    "older than minutes": ({"method": AGE, "value": "90m"}, {"a": 0.07, "b": 0.05}, {"a"}),
    "older than a year": ({"method": AGE, "value": "1y"}, {"a": 366, "b": 364}, {"a"}),
    "older, of those that match": (
        {"method": AGE, "value": "1d", "tag_pattern": "^pr-"},
        {"pr-1": 2, "pr-2": 0.5, "v1": 9},
        {"pr-1"},
    ),
    "older, of those that do not match": (
        {"method": AGE, "value": "1d", "tag_pattern": "^v", "tag_pattern_matches": False},
        {"pr-1": 2, "v1": 9},
        {"pr-1"},
    ),
}


HEAD = """\
# Quay's auto-prune policies, case by case

What a policy ends of some tags, each with its age in days. `make docs` writes this page from the cases of
[a test](../../tests/model/retention/test_quay_policies.py), which runs each of them. The same test shows that

- a tag ends when it is older than the age, not at that age;
- hidden tags, signatures and immutable tags do not end, and immutable tags count among the newest;
- of several policies, each sees what those before it have left: the registry's first, then the namespace's,
  then the repository's;
- a policy that is not valid (not JSON, another method, a wrong value or pattern) is skipped and named,
  and the others run.

| case | policy | tags: age in days | ended |
| --- | --- | --- | --- |
"""


def cases_page() -> str:
    """Return the page, with a row for each case."""
    rows = [_row(name, *case) for name, case in CASES.items()]
    return HEAD + "\n".join(rows) + "\n"


def _row(name: str, policy: dict[str, Any], ages: dict[str, float], ended: set[str]) -> str:
    tags = ", ".join(f"`{tag}` {days:g}" for tag, days in ages.items())
    gone = ", ".join(f"`{tag}`" for tag in sorted(ended)) or "none"
    return f"| {name} | `{json.dumps(policy)}` | {tags} | {gone} |"
