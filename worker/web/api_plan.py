"""The API that shows which tags retention rules would end, without saving the rules."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fastapi import APIRouter
from pydantic import BaseModel, Field

from model.db.connection import connection
from model.retention.file import parse_policy_file
from model.retention.find import find_ids
from model.retention.plan import plan_retention
from worker.jobs.plan_policy import Sums, sum_up
from worker.jobs.retain import retention_policy
from worker.jobs.targets import find_named
from worker.web.context import Context, Reader

router = APIRouter(tags=["plan"])

MOST_RULES = 262_144


class PolicyToPlan(BaseModel):
    """Retention rules, and the repositories to which to apply them."""

    rules: str = Field(max_length=MOST_RULES, description="The text of a file of rules, YAML.")
    repository: str | None = Field(None, max_length=512, description="`namespace/name`; null: a page of all.")
    after: int = Field(0, ge=0, le=2**31 - 1, description="The `next` of the page before.")
    limit: int = Field(100, ge=1, le=1000, description="Maximum repositories of a page.")


@dataclass(frozen=True)
class PlannedRule:
    """The tags that one rule would end in one repository, and the data that would then be unused."""

    repository: str
    rule: str
    tags: list[str]
    manifests: int
    blobs: int
    bytes: int


@dataclass(frozen=True)
class PolicyPlan:
    """The plan by rule and repository, and its sums; `problems` lists policies that would be skipped."""

    by_rule: list[PlannedRule]
    total: Sums
    problems: list[str]
    next: int | None


@router.post("/api/v1/plan", operation_id="planPolicy")
@connection()
def plan(context: Context, caller: Reader, wanted: PolicyToPlan) -> PolicyPlan:
    """Return the tags that the rules, and the enabled policies, would end now; changes nothing."""
    rules = parse_policy_file(wanted.rules)
    settings = replace(context.settings, retention_file="")
    retention = replace(retention_policy(settings), rules=rules)
    ids = _chosen(wanted)
    plans = list(plan_retention(ids, policy=context.policy, retention=retention))
    return PolicyPlan(
        by_rule=[
            PlannedRule(
                plan.repository, rule.rule, list(rule.tags), len(rule.manifest_ids), rule.blobs, rule.bytes
            )
            for plan in plans
            for rule in plan.by_rule
        ],
        total=sum_up(plans),
        problems=[f"{plan.repository}: {problem}" for plan in plans for problem in plan.problems],
        next=ids[-1] if wanted.repository is None and len(ids) == wanted.limit else None,
    )


def _chosen(wanted: PolicyToPlan) -> list[int]:
    if wanted.repository is not None:
        return [find_named(wanted.repository).id]
    return list(find_ids(after=wanted.after, limit=wanted.limit))
