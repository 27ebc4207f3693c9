"""End the tags that the rules select: judge once, and check every reason again when they end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from model.controls.gate import find_holds
from model.db.arrays import IntArray
from model.db.clock import now_ms
from model.db.connection import fetch_one
from model.errors import NoSuchRepository
from model.in_use import require_fresh
from model.policy import Policy
from model.registry.arguments import checked_id
from model.registry.ending import end_tags
from model.registry.operation import Operation, in_repository
from model.repository import Repository, by_ids
from model.retention.audit import AuditedOperation
from model.retention.facts import Needs, read_facts
from model.retention.policies import RetentionPolicy, RuleSet, needs_shield, read_all_rules, read_rules
from model.retention.rule import Rule, RuleVerdict, TagFacts, judge
from model.tag.rows import ALIVE, tags

_STILL_THERE = f"SELECT count(*) AS n FROM tag t WHERE t.id = ANY(%(ids)s) AND {ALIVE}"


@dataclass(frozen=True)
class Judged:
    """The verdict of the rules on a repository at one time.

    `chosen` are the facts of the tags to end; `looked` is how many tags were read.  `soon` are the tags, and
    the rules, that end by the time of the warnings, if all of `chosen` have ended.
    """

    repository: Repository
    rules: RuleSet
    verdict: RuleVerdict
    chosen: tuple[TagFacts, ...]
    now_ms: int
    looked: int = 0
    soon: tuple[tuple[TagFacts, Rule], ...] = ()


@dataclass(frozen=True)
class EndedBatch:
    """How many tags a batch ended.  `stale`: the judgement is out of date, and nothing was ended."""

    ended: int = 0
    stale: bool = False


def judge_repository(repository_id: int, *, policy: Policy, retention: RetentionPolicy) -> Judged:
    """Return what the rules would end now, and what they would end soon; only reads.

    Memory grows with the repository's alive tags.  Raises `NoSuchRepository`.
    """
    wanted = checked_id(repository_id, "repository")
    for judged in judge_repositories([wanted], policy=policy, retention=retention):
        return judged
    raise NoSuchRepository(repository=wanted)


def judge_repositories(
    repository_ids: Sequence[int], *, policy: Policy, retention: RetentionPolicy
) -> list[Judged]:
    """Do the same for several repositories, in their order, with few statements for all of them.

    Leaves out repositories that do not exist any more.  Memory grows with the alive tags of all of them.
    """
    found = by_ids(repository_ids)
    wheres = [found[id] for id in repository_ids if id in found and not found[id].is_marked]
    moment = now_ms()
    rules = read_all_rules(wheres, retention)
    alike: defaultdict[Needs, list[int]] = defaultdict(list)
    for where in wheres:
        if rules[where.id].all:
            alike[rules[where.id].needs].append(where.id)
    facts: defaultdict[int, list[TagFacts]] = defaultdict(list)
    for needs, ids in alike.items():
        for tag in read_facts(ids, needs, now_ms=moment, protects=policy.immutable_tags):
            facts[tag.repository_id].append(tag)
    return [_judge(where, rules[where.id], facts[where.id], moment, retention.warn_ms) for where in wheres]


def _judge(where: Repository, rules: RuleSet, tags: list[TagFacts], now_ms: int, warn_ms: int) -> Judged:
    verdict = judge(tags, in_turn=rules.in_turn, together=rules.together, now_ms=now_ms)
    ended = verdict.ended
    chosen = tuple([tag for tag in tags if tag.id in ended])
    soon: tuple[tuple[TagFacts, Rule], ...] = ()
    if warn_ms:
        left = [tag for tag in tags if tag.id not in ended]
        later = judge(left, in_turn=rules.in_turn, together=rules.together, now_ms=now_ms + warn_ms).ended
        soon = tuple((tag, later[tag.id]) for tag in left if tag.id in later)
    return Judged(where, rules, verdict, chosen, now_ms, len(tags), soon)


def end_chosen(
    judged: Judged, chosen: Sequence[TagFacts], *, policy: Policy, retention: RetentionPolicy
) -> EndedBatch:
    """End some of the tags that were judged, as `delete_tag` does, each with a row of the audit.

    One transaction under the repository's tag lock.  A tag about which anything has changed since it was
    judged (moved, made immutable, pulled, in use) is left for the next judgement.  Ends nothing if the rules
    have changed, or a tag that counted among the newest is gone.  Raises `StaleInUseList`.  Idempotent.
    """

    def work(operation: Operation) -> EndedBatch:
        where = operation.repository
        if find_holds({where.id: where.namespace_id}) and not policy.ignores_holds:
            return EndedBatch(stale=True)
        if read_rules(where, retention) != judged.rules or not _spared_live(judged, operation.now_ms):
            return EndedBatch(stale=True)
        if needs_shield(judged.rules.all):
            require_fresh(retention.in_use_max_age_ms)
        same = _unchanged(judged, chosen, operation)
        # Locks the rows, and tests again what Quay changes without the tag lock: end and immutability.
        rows = tags(
            f"t.id = ANY(%(ids)s) AND {ALIVE} AND NOT (t.immutable AND %(protects)s)"
            " ORDER BY t.id FOR UPDATE OF t",
            {"ids": IntArray(same), "now_ms": operation.now_ms, "protects": policy.immutable_tags},
        )
        audited = AuditedOperation(where, operation.now_ms, policy, rules=judged.verdict.ended)
        return EndedBatch(ended=len(end_tags(audited, rows)))

    return in_repository(judged.repository.id, policy, work)


def _spared_live(judged: Judged, moment_ms: int) -> bool:
    """Return whether all tags are alive on which the judgement depends."""
    spared = judged.verdict.spared
    if not spared:
        return True
    found = fetch_one(_STILL_THERE, {"ids": IntArray(spared), "now_ms": moment_ms})
    return bool(found.n == len(spared))


def _unchanged(judged: Judged, chosen: Sequence[TagFacts], operation: Operation) -> list[int]:
    known = {tag.id: tag for tag in chosen}
    found = read_facts(
        [judged.repository.id],
        judged.rules.needs,
        now_ms=operation.now_ms,
        protects=operation.policy.immutable_tags,
        ids=list(known),
    )
    return sorted(tag.id for tag in found if known[tag.id] == tag)
