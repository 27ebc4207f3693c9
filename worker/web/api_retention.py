"""The API of retention: the rules in the database, the audit of ended tags, and what could not run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query
from pydantic import BaseModel, Field

from model.db.connection import connection
from model.retention.audit import EndedTag, list_ended_tags
from model.retention.find import Problem, list_problems
from model.retention.stored import StoredRule, list_rules, remove_rules, store_rules
from worker.jobs.targets import find_named
from worker.web.api_plan import MOST_RULES
from worker.web.context import Deleter, Reader

router = APIRouter(tags=["retention"])

Limit = Annotated[int, Query(ge=1, le=1000, description="Maximum rows.")]


class RulesToSet(BaseModel):
    """Rules to write to the database."""

    rules: str = Field(max_length=MOST_RULES, description="The text of a file of rules, YAML.")


@router.get("/api/v1/retention/rules", operation_id="listRetentionRules")
@connection()
def rules(caller: Reader) -> list[StoredRule]:
    """Return the retention rules in the database, by name; `problem` says why one is skipped."""
    return list_rules()


@router.put("/api/v1/retention/rules", operation_id="setRetentionRules")
@connection()
def set_rules(caller: Deleter, wanted: RulesToSet) -> list[StoredRule]:
    """Write rules to the database; one of the same name is replaced, others stay.  Returns all of them.

    If one has a mistake, nothing is written.
    """
    store_rules(wanted.rules, author=caller.name)
    return list_rules()


@router.delete("/api/v1/retention/rules/{name:path}", operation_id="removeRetentionRule")
@connection()
def remove_rule(
    caller: Deleter, name: Annotated[str, Path(max_length=255, description="The rule's name.")]
) -> list[StoredRule]:
    """Remove a rule from the database; returns the others.  404 if there is none of that name."""
    if not remove_rules([name]):
        raise HTTPException(404, f"No stored rule is called {name}")
    return list_rules()


@router.get("/api/v1/retention/audit", operation_id="listEndedTags")
@connection()
def audit(
    caller: Reader,
    repository: Annotated[str | None, Query(max_length=512, description="`namespace/name`")] = None,
    limit: Limit = 100,
) -> list[EndedTag]:
    """Return tags that rules ended (in a repository), latest first: by which rule, restorable until when."""
    return list_ended_tags(0 if repository is None else find_named(repository).id, limit=limit)


@router.get("/api/v1/retention/problems", operation_id="listRetentionProblems")
@connection()
def skipped(caller: Reader, limit: Limit = 100) -> list[Problem]:
    """Return the repositories in which a policy or rule could not run, and why, latest first."""
    return list_problems(limit=limit)
