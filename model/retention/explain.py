"""Why a tag exists, until when, and what the retention rules say about it.  Only reads."""

from __future__ import annotations

from collections.abc import Sequence

from model.db.clock import now_ms
from model.gc.inspect.explanation import Explanation
from model.human import human_ms
from model.policy import Policy
from model.repository import Repository
from model.retention.facts import read_facts
from model.retention.policies import RetentionPolicy, RuleSet, read_rules
from model.retention.rule import RuleVerdict, TagFacts, chosen_by, judge, narrows
from model.tag.rows import Tag, tags

_LATEST = (
    "t.repository_id = %(repository_id)s AND t.name = %(name)s"
    " ORDER BY t.lifetime_end_ms DESC NULLS FIRST, t.id DESC LIMIT 1"
)


def explain_tag(
    where: Repository, name: str, *, policy: Policy, retention: RetentionPolicy
) -> Explanation | None:
    """Say why a tag lives, or how long it can be restored, and what each retention rule does with it.

    Returns None if the repository has no row of that name.
    """
    found = tags(_LATEST, {"repository_id": where.id, "name": name})
    if not found:
        return None
    tag, moment = found[0], now_ms()
    subject = f"{where.path}:{name}"
    if not tag.alive(moment):
        return Explanation("tag", subject, False, tuple(_of_ended(tag, where, policy, moment)))
    reasons = [f"points at {tag.digest}"]
    if tag.end_ms is not None:
        reasons.append(f"ends by itself in {human_ms(tag.end_ms - moment)}")
    if tag.immutable and policy.immutable_tags:
        reasons.append("is immutable: nothing but its own expiry ends it")
    reasons += _of_rules(tag, where, policy, retention, moment)
    return Explanation("tag", subject, True, tuple(reasons))


def _of_ended(tag: Tag, where: Repository, policy: Policy, now_ms: int) -> list[str]:
    left_ms = (tag.end_ms or 0) + where.window_ms - now_ms
    reasons = [f"has ended, and pointed at {tag.digest}"]
    if tag.immutable and policy.protects_immutable:
        return [*reasons, "is immutable: no collection removes it"]
    if left_ms > 0:
        return [*reasons, f"can be restored for {human_ms(left_ms)} more"]
    return [*reasons, "is past its recovery window: goes with the next collection"]


def _of_rules(
    tag: Tag, where: Repository, policy: Policy, retention: RetentionPolicy, now_ms: int
) -> list[str]:
    rules = read_rules(where, retention)
    skipped = [f"a policy is skipped: {problem}" for problem in rules.problems]
    if not rules.all:
        return [*skipped, "no retention rule holds for its repository"]
    facts = read_facts([where.id], rules.needs, now_ms=now_ms, protects=policy.immutable_tags)
    mine = next((each for each in facts if each.id == tag.id), None)
    if mine is None:
        return [*skipped, "no retention rule looks at hidden tags and signatures"]
    verdict = judge(facts, in_turn=rules.in_turn, together=rules.together, now_ms=now_ms)
    return [*skipped, *_verdict(mine, facts, rules, verdict, now_ms)]


def _verdict(
    tag: TagFacts, facts: Sequence[TagFacts], rules: RuleSet, verdict: RuleVerdict, now_ms: int
) -> list[str]:
    if tag.id in verdict.ended:
        return [f"the rule {verdict.ended[tag.id].name!r} ends it with its next run"]
    reasons = ["it runs somewhere: no rule ends it"] if tag.in_use else []
    left = list(facts)
    for rule in rules.all:
        acts_on, newest = chosen_by(rule, left, now_ms)
        among = f"among the {len(newest)} newest that the rule {rule.name!r}"
        if rule.action == "keep" and tag in (newest if narrows(rule) else acts_on):
            reasons.append(f"{among} keeps" if narrows(rule) else f"the rule {rule.name!r} keeps it")
        elif rule.action == "expire" and tag in newest:
            reasons.append(f"{among} leaves")
        elif tag not in acts_on:
            reasons.append(f"the rule {rule.name!r} does not select it")
        if rule in rules.in_turn:
            left = [each for each in left if verdict.ended.get(each.id) is not rule]
    return reasons
