"""What the retention rules would end, and what a collection after the recovery window would then free."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import NamedTuple

from model.db.arrays import IntArray
from model.db.prepared import run
from model.gc.manifests.judge import judge_running, suppose_manifest_uses
from model.gc.tags import CLOSURE
from model.policy import Policy
from model.retention.along import Along
from model.retention.apply import Judged, judge_repositories
from model.retention.freed import Freed, read_freed
from model.retention.group import group_repositories
from model.retention.policies import RetentionPolicy
from model.retention.rule import TagFacts

_AFFECTED = f"""
WITH RECURSIVE seeds (id) AS (
    SELECT unnest(%(seeds)s)
), {CLOSURE}
SELECT m.id, m.repository_id FROM closure c
JOIN manifest m ON m.id = c.id AND m.repository_id = ANY(%(repositories)s)
"""


@dataclass(frozen=True)
class RulePlan:
    """What one rule would end in one repository, and what this alone would free."""

    repository: str
    rule: str
    tags: tuple[str, ...]
    manifest_ids: tuple[int, ...]
    blobs: int
    bytes: int


@dataclass(frozen=True)
class RetentionPlan:
    """What all rules would end in one repository; `problems` are policies that would be skipped.

    `freed` is what this repository alone would free.
    """

    repository: str
    by_rule: tuple[RulePlan, ...]
    manifest_ids: tuple[int, ...]
    freed: Freed
    problems: tuple[str, ...]

    @property
    def tags(self) -> int:
        """Return how many tags end by a rule, without the signatures that end with their image."""
        return sum(len(each.tags) for each in self.by_rule)


class _Outcome(NamedTuple):
    """What a collection would delete from one repository after some of its tags have ended."""

    manifest_ids: tuple[int, ...] = ()
    freed: Freed = Freed()


def plan_retention(
    repository_ids: Sequence[int], *, policy: Policy, retention: RetentionPolicy
) -> Iterator[RetentionPlan]:
    """Yield for each repository what the rules would end now, with the judgement of the real run; only reads.

    The manifests and blobs are those that nothing else uses; a collection deletes them after the recovery
    window of the tags.  Leaves out repositories that do not exist any more.  Memory grows with the alive tags
    of a group of small repositories, or of the largest one.
    """
    silent = replace(retention, warn_ms=0)
    for group in group_repositories(repository_ids):
        found = judge_repositories(group, policy=policy, retention=silent)
        yield from _Group(found, policy).plans() if found else ()


class _Group:
    """Some judged repositories, whose outcomes are read together."""

    def __init__(self, found: Sequence[Judged], policy: Policy) -> None:
        self._found, self._policy, self._now_ms = found, policy, found[0].now_ms
        self._ids = IntArray(judged.repository.id for judged in found)
        self._along = Along(self._ids, policy=policy, now_ms=self._now_ms)

    def plans(self) -> Iterator[RetentionPlan]:
        """Yield the plan of each repository.

        The first rules of all repositories are read together, then the second ones, and so on.
        """
        by_rule = {judged.repository.id: _by_rule(judged) for judged in self._found}
        whole = self._outcomes([judged.chosen for judged in self._found])
        alone = {id: list(rules.values()) for id, rules in by_rule.items() if len(rules) > 1}
        turns = [self._outcomes(turn) for turn in zip_longest(*alone.values(), fillvalue=())]
        for judged in self._found:
            id = judged.repository.id
            outcomes = turns if id in alone else [whole]
            rules = [
                _rule_plan(judged, rule, tags, outcome.get(id, _Outcome()))
                for (rule, tags), outcome in zip(by_rule[id].items(), outcomes, strict=False)
            ]
            manifests, freed = whole.get(id, _Outcome())
            problems = judged.rules.problems
            yield RetentionPlan(judged.repository.path, tuple(rules), manifests, freed, problems)

    def _outcomes(self, parts: Iterable[Sequence[TagFacts]]) -> dict[int, _Outcome]:
        """Return what would be gone from each repository without these tags, each part of another one."""
        tags = [tag for part in parts for tag in part]
        if not tags:
            return {}
        dead = self._find_dead(tags)
        freed = read_freed(dead)
        manifests: defaultdict[int, list[int]] = defaultdict(list)
        for id in sorted(dead):
            manifests[dead[id]].append(id)
        return {id: _Outcome(tuple(ids), freed.get(id, Freed())) for id, ids in manifests.items()}

    def _find_dead(self, tags: Sequence[TagFacts]) -> dict[int, int]:
        """Return the manifests that nothing uses without these tags, and their repositories."""
        ended, manifests = self._along.find(tags)
        cascade = self._policy.referrers == "cascade"
        params = {"seeds": IntArray(manifests), "repositories": self._ids, "cascade": cascade}
        affected = {row.id: row.repository_id for row in run(_AFFECTED, params)}
        uses = suppose_manifest_uses(list(affected), without=ended, policy=self._policy, now_ms=self._now_ms)
        return {id: affected[id] for id in judge_running(uses, now_ms=self._now_ms)[1]}


def _by_rule(judged: Judged) -> dict[str, list[TagFacts]]:
    found: dict[str, list[TagFacts]] = {}
    for tag in judged.chosen:
        found.setdefault(judged.verdict.ended[tag.id].name, []).append(tag)
    return found


def _rule_plan(judged: Judged, rule: str, tags: Sequence[TagFacts], outcome: _Outcome) -> RulePlan:
    names = tuple(sorted([tag.name for tag in tags]))
    manifests, freed = outcome
    return RulePlan(judged.repository.path, rule, names, manifests, freed.blobs, freed.bytes)
