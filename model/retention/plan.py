"""What the retention rules would end, and what a collection after the recovery window would then free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model.db.connection import IntArray
from model.db.prepared import run, run_one
from model.gc.manifests.judge import judge_running, suppose_manifest_uses
from model.gc.tags import CLOSURE
from model.policy import Policy
from model.retention.along import Along
from model.retention.apply import Judged, judge_repository
from model.retention.policies import RetentionPolicy
from model.retention.rule import TagFacts

_AFFECTED = f"""
WITH RECURSIVE seeds (id) AS (
    SELECT unnest(%(seeds)s)
), {CLOSURE}
SELECT c.id FROM closure c JOIN manifest m ON m.id = c.id AND m.repository_id = %(repository_id)s
"""

# Most blobs are left at the first reference of a living manifest, and nothing else is read of them.  The dead
# manifests are hashed once.
_FREED = """
WITH lost AS MATERIALIZED (
    SELECT DISTINCT b.blob_id AS id FROM manifestblob b WHERE b.manifest_id = ANY(%(dead)s)
), unreferred AS MATERIALIZED (
    SELECT l.id FROM lost l
    WHERE NOT EXISTS (SELECT FROM manifestblob r
                      WHERE r.blob_id = l.id
                        AND (r.manifest_id IN (SELECT unnest(%(dead)s))) IS NOT TRUE OFFSET 0)
)
SELECT count(*) AS blobs, coalesce(sum(b.image_size), 0)::bigint AS bytes
FROM unreferred u JOIN imagestorage b ON b.id = u.id
WHERE NOT EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id OFFSET 0)
  AND EXISTS (SELECT FROM imagestorageplacement p WHERE p.storage_id = b.id OFFSET 0)
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
    """What all rules would end in one repository; `problems` are policies that would be skipped."""

    repository: str
    by_rule: tuple[RulePlan, ...]
    manifest_ids: tuple[int, ...]
    problems: tuple[str, ...]

    @property
    def tags(self) -> int:
        """Return how many tags end by a rule, without the signatures that end with their image."""
        return sum(len(each.tags) for each in self.by_rule)


def plan_retention(repository_id: int, *, policy: Policy, retention: RetentionPolicy) -> RetentionPlan:
    """Return what the rules would end now, with the judgement of the real run; only reads.

    The manifests and blobs are those that nothing else uses; a collection deletes them after the recovery
    window of the tags.  Memory grows with the repository's alive tags.
    """
    judged = judge_repository(repository_id, policy=policy, retention=retention)
    by_rule: dict[str, list[TagFacts]] = {}
    for tag in judged.chosen:
        by_rule.setdefault(judged.verdict.ended[tag.id].name, []).append(tag)
    if not by_rule:
        return RetentionPlan(judged.repository.path, (), (), judged.rules.problems)
    along = Along(judged.repository.id, policy=policy, now_ms=judged.now_ms)
    plans = []
    for rule, chosen in by_rule.items():
        dead = _dead(judged, chosen, along, policy)
        blobs, bytes = freed(dead)
        tags = tuple(sorted(tag.name for tag in chosen))
        plans.append(RulePlan(judged.repository.path, rule, tags, dead, blobs, bytes))
    whole = plans[0].manifest_ids if len(plans) == 1 else _dead(judged, judged.chosen, along, policy)
    return RetentionPlan(judged.repository.path, tuple(plans), whole, judged.rules.problems)


def freed(dead: Iterable[int]) -> tuple[int, int]:
    """Return how many blobs, and of how many bytes, only these manifests refer to; only reads."""
    ids = IntArray(dead)
    if not ids:
        return 0, 0
    row = run_one(_FREED, {"dead": ids})
    return row.blobs, row.bytes


def _dead(judged: Judged, tags: Sequence[TagFacts], along: Along, policy: Policy) -> tuple[int, ...]:
    """Return the manifests that nothing uses after these tags, and those that end with them, are gone."""
    ended, manifests = along.find(tags)
    params = {
        "seeds": IntArray(manifests),
        "repository_id": judged.repository.id,
        "cascade": policy.referrers == "cascade",
    }
    affected = [row.id for row in run(_AFFECTED, params)]
    uses = suppose_manifest_uses(affected, without=ended, policy=policy, now_ms=judged.now_ms)
    return tuple(sorted(judge_running(uses, now_ms=judged.now_ms)[1]))
