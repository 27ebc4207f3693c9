"""What a collection of a repository would remove now, and when there is more.  Only reads."""

from __future__ import annotations

from model.db.clock import now_ms
from model.db.connection import fetch_one
from model.gc.due.note import NEVER_MS
from model.gc.inspect.plan import Plan, plan_repository
from model.human import counted, human_ms
from model.policy import Policy
from model.repository import Repository

_NEXT = f"""
SELECT min(t.lifetime_end_ms) + %(window_ms)s AS due_ms FROM tag t
WHERE t.repository_id = %(id)s AND t.lifetime_end_ms > %(now_ms)s - %(window_ms)s
  AND t.lifetime_end_ms < {NEVER_MS // 2} AND NOT (t.immutable AND %(protects_immutable)s)
"""


def explain_garbage(where: Repository, *, policy: Policy) -> tuple[bool, list[str]]:
    """Return whether a collection would remove anything now, and the facts in words."""
    plan = plan_repository(where.id, policy=policy)
    if plan is None:
        return False, ["its namespace is disabled: no collection removes anything"]
    garbage = bool(plan.tags or plan.digests)
    return garbage, [_counted(plan), *_next(where, policy)]


def _counted(plan: Plan) -> str:
    if not plan.tags and not plan.digests:
        return "has no tag past its recovery window, and no manifest that nothing uses"
    tags, manifests = counted(len(plan.tags), "tag"), counted(len(plan.digests), "manifest")
    return f"the next collection removes {tags} and {manifests}"


def _next(where: Repository, policy: Policy) -> list[str]:
    moment = now_ms()
    params = {
        "id": where.id,
        "window_ms": where.window_ms,
        "now_ms": moment,
        "protects_immutable": policy.protects_immutable,
    }
    due_ms = fetch_one(_NEXT, params).due_ms
    return [] if due_ms is None else [f"more becomes garbage in {human_ms(due_ms - moment)}"]
