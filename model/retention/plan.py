"""What the retention rules would end, and what a collection after the recovery window would then free."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model.db.connection import IntArray, fetch, fetch_one
from model.gc.manifests.judge import judge_running, suppose_manifest_uses
from model.gc.tags import CLOSURE
from model.policy import Policy
from model.retention.apply import Judged, judge_repository
from model.retention.policies import RetentionPolicy
from model.tag.cosign import PATTERN, SUFFIXES
from model.tag.temporary import PREFIX

# The Cosign tags of manifests that lose their last visible tag, and those of these tags, as in the façade.
_SIBLINGS = """
SELECT DISTINCT s.id FROM tag t JOIN manifest m ON m.id = t.manifest_id
CROSS JOIN unnest(%(suffixes)s::text[]) AS x (suffix)
JOIN tag s ON s.repository_id = t.repository_id AND s.name = replace(m.digest, ':', '-') || x.suffix
WHERE t.id = ANY(%(ended)s) AND s.id <> ALL(%(ended)s) AND NOT s.hidden
  AND (s.lifetime_end_ms IS NULL OR s.lifetime_end_ms > %(now_ms)s)
  AND NOT (s.immutable AND %(protects)s)
  AND NOT EXISTS (SELECT FROM tag o WHERE o.manifest_id = m.id AND o.id <> ALL(%(ended)s) AND NOT o.hidden
                  AND (t.name ~ %(cosign)s OR o.name !~ %(cosign)s)
                  AND (o.lifetime_end_ms IS NULL OR o.lifetime_end_ms > %(now_ms)s))
"""

# The temporary tags below an index end with it; see `model.registry.ending.reset_children`.
_BELOW = """
WITH RECURSIVE below (id) AS (
    SELECT c.child_manifest_id FROM manifestchild c
    WHERE c.manifest_id = ANY(ARRAY(SELECT manifest_id FROM tag WHERE id = ANY(%(ended)s)))
    UNION SELECT c.child_manifest_id FROM manifestchild c JOIN below b ON b.id = c.manifest_id
)
SELECT t.id FROM below b JOIN tag t ON t.manifest_id = b.id
WHERE t.hidden AND starts_with(t.name, %(temporary)s) AND t.lifetime_end_ms > %(now_ms)s
  AND t.lifetime_start_ms <= (SELECT max(lifetime_start_ms) FROM tag WHERE id = ANY(%(ended)s))
"""

_REACH = f"""
WITH RECURSIVE seeds (id) AS (
    SELECT manifest_id FROM tag WHERE id = ANY(%(ended)s)
), {CLOSURE}
SELECT c.id FROM closure c JOIN manifest m ON m.id = c.id AND m.repository_id = %(repository_id)s
"""

_FREED = """
WITH dead AS MATERIALIZED (SELECT unnest(%(dead)s) AS id),
lost AS MATERIALIZED (
    SELECT DISTINCT b.blob_id AS id FROM manifestblob b JOIN dead d ON d.id = b.manifest_id
)
SELECT count(*) AS blobs, coalesce(sum(b.image_size), 0)::bigint AS bytes
FROM lost JOIN imagestorage b ON b.id = lost.id
WHERE NOT EXISTS (SELECT FROM manifestblob r WHERE r.blob_id = b.id
                  AND NOT EXISTS (SELECT FROM dead d WHERE d.id = r.manifest_id))
  AND NOT EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id)
  AND EXISTS (SELECT FROM imagestorageplacement p WHERE p.storage_id = b.id)
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
    by_rule: dict[str, list[int]] = {}
    for tag in judged.chosen:
        by_rule.setdefault(judged.verdict.ended[tag.id].name, []).append(tag.id)
    names = {tag.id: tag.name for tag in judged.chosen}
    plans = []
    for rule, ids in by_rule.items():
        dead = _dead(judged, ids, policy)
        blobs, bytes = freed(dead)
        tags = tuple(sorted(names[id] for id in ids))
        plans.append(RulePlan(judged.repository.path, rule, tags, dead, blobs, bytes))
    whole = plans[0].manifest_ids if len(plans) == 1 else _dead(judged, list(names), policy)
    return RetentionPlan(judged.repository.path, tuple(plans), whole, judged.rules.problems)


def freed(dead: Iterable[int]) -> tuple[int, int]:
    """Return how many blobs, and of how many bytes, only these manifests refer to; only reads."""
    row = fetch_one(_FREED, {"dead": IntArray(dead)})
    return row.blobs, row.bytes


def _dead(judged: Judged, tag_ids: Sequence[int], policy: Policy) -> tuple[int, ...]:
    """Return the manifests that nothing uses after these tags, and those that end with them, are gone."""
    if not tag_ids:
        return ()
    ended = _with_siblings(list(tag_ids), judged, policy)
    params = {
        "ended": IntArray(ended),
        "repository_id": judged.repository.id,
        "cascade": policy.referrers == "cascade",
    }
    reached = [row.id for row in fetch(_REACH, params)]
    uses = suppose_manifest_uses(reached, without=ended, policy=policy, now_ms=judged.now_ms)
    return tuple(sorted(judge_running(uses, now_ms=judged.now_ms)[1]))


def _with_siblings(ended: list[int], judged: Judged, policy: Policy) -> list[int]:
    params = {
        "now_ms": judged.now_ms,
        "suffixes": [f".{suffix}" for suffix in SUFFIXES],
        "protects": policy.immutable_tags,
        "cosign": PATTERN,
        "temporary": PREFIX,
    }
    while more := [row.id for row in fetch(_SIBLINGS, {**params, "ended": IntArray(ended)})]:
        ended += more
    if policy.reset_child_manifest_expiration:
        ended += [row.id for row in fetch(_BELOW, {**params, "ended": IntArray(ended)})]
    return ended
