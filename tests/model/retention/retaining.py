"""Retention rules run to their end on a repository."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

from model.policy import DEFAULT, Policy
from model.retention.apply import end_chosen, judge_repository
from model.retention.policies import RetentionPolicy
from tests.support.world import Row, World

DAY_MS = 86_400_000
QUAY = RetentionPolicy(autoprune=True)


def retain(
    repository_id: int, retention: RetentionPolicy = QUAY, *, policy: Policy = DEFAULT
) -> tuple[set[str], tuple[str, ...]]:
    """Names of the tags that the rules ended, and the problems of skipped policies."""
    judged = judge_repository(repository_id, policy=policy, retention=retention)
    end_chosen(judged, judged.chosen, policy=policy, retention=retention)
    return {tag.name for tag in judged.chosen}, judged.rules.problems


def namespace_policy(world: World, policy: Any, *, namespace: int | None = None) -> None:
    """A row of Quay's namespaceautoprunepolicy; text is written as it is."""
    world.insert(
        "namespaceautoprunepolicy",
        uuid=str(uuid.uuid4()),
        namespace_id=world.namespace_id if namespace is None else namespace,
        policy=policy if isinstance(policy, str) else json.dumps(policy),
    )


def repository_policy(world: World, policy: Any) -> None:
    """The same for one repository."""
    world.insert(
        "repositoryautoprunepolicy",
        uuid=str(uuid.uuid4()),
        repository_id=world.repository_id,
        namespace_id=world.namespace_id,
        policy=policy if isinstance(policy, str) else json.dumps(policy),
    )


def aged(world: World, name: str, days: float, **more: Any) -> Row:
    """An alive tag that began so many days ago."""
    return world.tag(name, start_ms=world.now_ms - int(days * DAY_MS), **more)


def alive(world: World, repository: int | None = None) -> set[str]:
    """Names of the visible tags that are alive."""
    rows = world.rows(
        "SELECT name FROM tag WHERE repository_id = %s AND NOT hidden"
        " AND (lifetime_end_ms IS NULL OR lifetime_end_ms > extract(epoch FROM now()) * 1000)",
        (world.repository_id if repository is None else repository,),
    )
    return {name for (name,) in rows}


def fileless(*rules: Any, **more: Any) -> RetentionPolicy:
    """A retention policy of these rules alone."""
    return replace(RetentionPolicy(rules=tuple(rules)), **more)
