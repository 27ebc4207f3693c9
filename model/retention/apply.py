"""End the tags that the rules select: judge once, and check every reason again when they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.controls.gate import find_holds
from model.db.clock import now_ms
from model.db.connection import IntArray, fetch_one
from model.in_use import require_fresh
from model.policy import Policy
from model.registry.arguments import find_repository
from model.registry.ending import end_tags
from model.registry.operation import Operation, in_repository
from model.repository import Repository
from model.retention.audit import AuditedOperation
from model.retention.facts import read_facts
from model.retention.policies import RetentionPolicy, RuleSet, needs_shield, read_rules
from model.retention.rule import RuleVerdict, TagFacts, judge
from model.tag.rows import ALIVE, tags

_STILL_THERE = f"SELECT count(*) AS n FROM tag t WHERE t.id = ANY(%(ids)s) AND {ALIVE}"


@dataclass(frozen=True)
class Judged:
    """The verdict of the rules on a repository at one time.

    `chosen` are the facts of the tags to end; `looked` is how many tags were read.
    """

    repository: Repository
    rules: RuleSet
    verdict: RuleVerdict
    chosen: tuple[TagFacts, ...]
    now_ms: int
    looked: int = 0


@dataclass(frozen=True)
class EndedBatch:
    """How many tags a batch ended.  `stale`: the judgement is out of date, and nothing was ended."""

    ended: int = 0
    stale: bool = False


def judge_repository(
    repository_id: int, *, policy: Policy, retention: RetentionPolicy, ahead_ms: int = 0
) -> Judged:
    """Return what the rules would end now, or `ahead_ms` from now; only reads.

    Memory grows with the repository's alive tags.  Raises `NoSuchRepository`.
    """
    where = find_repository(repository_id)
    moment = now_ms()
    rules = read_rules(where, retention)
    if not rules.all:
        return Judged(where, rules, RuleVerdict(), (), moment)
    found = read_facts(where.id, rules.all, rules.patterns, now_ms=moment, protects=policy.immutable_tags)
    verdict = judge(found, in_turn=rules.in_turn, together=rules.together, now_ms=moment + ahead_ms)
    chosen = tuple(tag for tag in found if tag.id in verdict.ended)
    return Judged(where, rules, verdict, chosen, moment, len(found))


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
        judged.repository.id,
        judged.rules.all,
        judged.rules.patterns,
        now_ms=operation.now_ms,
        protects=operation.policy.immutable_tags,
        ids=list(known),
    )
    return sorted(tag.id for tag in found if known[tag.id] == tag)
