"""Retention rules, and their verdict on the tags of a repository.  Pure: no database, no clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from typing import Literal, NamedTuple

from model.retention.version import parse_version


class TagFacts(NamedTuple):
    """The facts about a tag that rules use; `pulled_ms` is None if no pull was counted.

    `patterns` has the numbers of the regular expressions that match the name (the database matches them).
    `labels` and `patterns` are None if no rule asks for them.
    """

    id: int
    repository_id: int
    name: str
    manifest_id: int
    digest: str
    start_ms: int
    end_ms: int | None
    hidden: bool
    immutable: bool
    in_use: bool
    pulled_ms: int | None
    labels: frozenset[tuple[str, str]] | None
    patterns: frozenset[int] | None


@dataclass(frozen=True)
class Rule:
    """Selects tags, and keeps or expires them.

    All given conditions must hold.  With `newest` or `newest_version`, a `keep` keeps only the N newest of
    the selected tags, and an `expire` ends all but these.  By version, a rule selects only names that are
    versions.
    `pattern` is the number of a regular expression in `TagFacts`; with `pattern_matches` false it must not
    match.  A tag is older only after `older_than_ms`, not at that time.
    """

    name: str
    action: Literal["keep", "expire"]
    author: str = "file"
    repositories: tuple[str, ...] = ("*",)
    glob: str | None = None
    regex: str | None = None
    pattern: int | None = None
    pattern_matches: bool = True
    older_than_ms: int | None = None
    not_pulled_for_ms: int | None = None
    label: tuple[str, str | None] | None = None
    untagged: bool = False
    newest: int | None = None
    newest_version: int | None = None

    def covers(self, path: str) -> bool:
        """Return whether `namespace/repository` is one of its repositories."""
        return any(fnmatchcase(path, pattern) for pattern in self.repositories)

    def select(self, tags: Iterable[TagFacts], *, now_ms: int) -> list[TagFacts]:
        """Return the tags on which its conditions on a single tag hold, in their order."""
        if self.untagged:
            found = [tag for tag in tags if tag.hidden and tag.end_ms is not None]
        else:
            found = [tag for tag in tags if not tag.hidden]
        if self.glob is not None:
            matches = _glob_matcher(self.glob)
            found = [tag for tag in found if matches(tag.name)]
        if self.regex is not None:
            matches = re.compile(self.regex).fullmatch
            found = [tag for tag in found if matches(tag.name)]
        if self.pattern is not None:
            found = [tag for tag in found if (self.pattern in (tag.patterns or ())) is self.pattern_matches]
        if (age_ms := self.older_than_ms) is not None:
            found = [tag for tag in found if _is_older(tag.start_ms, age_ms, now_ms)]
        if (age_ms := self.not_pulled_for_ms) is not None:
            found = [tag for tag in found if _is_older(max(tag.start_ms, tag.pulled_ms or 0), age_ms, now_ms)]
        if self.label is not None:
            found = [tag for tag in found if _labelled(tag, *self.label)]
        if self.newest_version is not None:
            found = [tag for tag in found if parse_version(tag.name) is not None]
        return found


@dataclass(frozen=True)
class RuleVerdict:
    """`ended`: tag id to the rule that ends it.  `spared`: ids of tags that are among the newest of a rule.

    While all of `spared` live, no other change of tags can move one of `ended` among the newest.
    """

    ended: Mapping[int, Rule] = field(default_factory=dict)
    spared: frozenset[int] = frozenset()


def judge(
    tags: Sequence[TagFacts], *, in_turn: Sequence[Rule], together: Sequence[Rule], now_ms: int
) -> RuleVerdict:
    """Return which tags end, and by which rule.

    Each of the rules `in_turn` (Quay's policies) sees the tags that the rules before it have left.  All rules
    `together` see the same tags; if any of them keeps a tag, none of them ends it, in any order.  No rule
    ends an immutable tag or one in use, but these count among the newest.
    """
    ended: dict[int, Rule] = {}
    spared: set[int] = set()
    kept: set[int] = set()
    for rule in together:
        if rule.action == "keep":
            chosen, newest = chosen_by(rule, tags, now_ms)
            kept |= {tag.id for tag in (newest if narrows(rule) else chosen)}
            spared |= {tag.id for tag in newest}
    for rule in in_turn:
        left = [tag for tag in tags if tag.id not in ended]
        chosen, newest = chosen_by(rule, left, now_ms)
        spared |= {tag.id for tag in newest}
        ended |= {tag.id: rule for tag in chosen if _may_end(tag) and tag.id not in kept}
    for rule in together:
        if rule.action == "expire":
            chosen, newest = chosen_by(rule, tags, now_ms)
            spared |= {tag.id for tag in newest}
            for tag in chosen:
                if _may_end(tag) and tag.id not in kept:
                    ended.setdefault(tag.id, rule)
    return RuleVerdict(ended, frozenset(spared - ended.keys()))


def chosen_by(rule: Rule, tags: Iterable[TagFacts], now_ms: int) -> tuple[list[TagFacts], list[TagFacts]]:
    """Return the tags that the rule acts on, and the N newest of its selection."""
    selected = rule.select(tags, now_ms=now_ms)
    newest = _newest(selected, rule)
    if not narrows(rule) or rule.action == "keep":
        return selected, newest
    among = {tag.id for tag in newest}
    return [tag for tag in selected if tag.id not in among], newest


def _newest(selected: list[TagFacts], rule: Rule) -> list[TagFacts]:
    """Return tags that are among the newest by either measure; of equal times the later row is newer."""
    found: dict[int, TagFacts] = {}
    by: list[tuple[int | None, Callable[[TagFacts], object]]] = [
        (rule.newest, _by_age),
        (rule.newest_version, _by_version),
    ]
    for count, key in by:
        if count is not None:
            ranked = sorted(selected, key=key, reverse=True)  # type: ignore[arg-type]
            found |= {tag.id: tag for tag in ranked[:count]}
    return list(found.values())


def _by_age(tag: TagFacts) -> tuple[int, int]:
    return tag.start_ms, tag.id


def _by_version(tag: TagFacts) -> tuple[object, ...]:
    return (*(parse_version(tag.name) or ()), tag.start_ms, tag.id)


def narrows(rule: Rule) -> bool:
    """Return whether the rule has a limit of N newest tags."""
    return rule.newest is not None or rule.newest_version is not None


def _may_end(tag: TagFacts) -> bool:
    return not tag.immutable and not tag.in_use


def _is_older(since_ms: int, age_ms: int, now_ms: int) -> bool:
    return now_ms - since_ms > age_ms


@lru_cache(maxsize=1024)
def _glob_matcher(pattern: str) -> Callable[[str], object]:
    """Return a function that tells whether a name matches the pattern, as `fnmatchcase` does."""
    return re.compile(translate(pattern)).match


def _labelled(tag: TagFacts, key: str, value: str | None) -> bool:
    return any(key == found and value in (None, held) for found, held in tag.labels or ())
