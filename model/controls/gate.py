"""The check before every removal: do a hold, the window or a breaker forbid it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.controls.breaker import REGISTRY, BreakerUnchecked
from model.db.arrays import BigIntArray, IntArray
from model.db.clock import NOW_MS_SQL
from model.db.prepared import run
from model.policy import Policy

_HOLDS = f"""
SELECT t.repository_id AS held, h.reason, h.author, h.namespace_id, h.repository_id
FROM unnest(%(repositories)s, %(namespaces)s) AS t (repository_id, namespace_id)
CROSS JOIN LATERAL (
    SELECT h.* FROM dredge_hold h
    WHERE (h.namespace_id, h.repository_id) IN ((0, 0), (t.namespace_id, 0), (0, t.repository_id))
      AND (h.until_ms IS NULL OR h.until_ms > {NOW_MS_SQL})
    ORDER BY h.namespace_id + h.repository_id LIMIT 1) h
"""

# Blob candidate `c` left a repository that is on hold, or whose namespace is on hold.
IS_HELD = f"""EXISTS (
    SELECT FROM dredge_hold h
    WHERE (h.until_ms IS NULL OR h.until_ms > {NOW_MS_SQL})
      AND ((h.namespace_id = 0 AND h.repository_id = c.repository_id)
           OR (h.repository_id = 0 AND h.namespace_id =
               (SELECT r.namespace_user_id FROM repository r WHERE r.id = c.repository_id)))
)"""

# The registry's own breaker has no recovery window.
_BREAKERS = f"""
SELECT w.namespace_id, coalesce(own.valid AND everywhere.valid, false) AS valid,
       coalesce(own.reason, everywhere.reason, '') AS reason,
       own.reason IS NULL OR w.namespace_id = {REGISTRY} AS is_everywhere
FROM unnest(%(namespaces)s, %(windows)s) AS w (namespace_id, window_ms)
LEFT JOIN LATERAL (
    SELECT b.valid_until_ms > {NOW_MS_SQL} AND b.window_ms <= w.window_ms AS valid,
           CASE WHEN b.opened_ms IS NOT NULL THEN b.reason END AS reason
    FROM dredge_breaker b WHERE b.namespace_id = w.namespace_id OFFSET 0) own ON true
LEFT JOIN LATERAL (
    SELECT b.valid_until_ms > {NOW_MS_SQL} AS valid,
           CASE WHEN b.opened_ms IS NOT NULL THEN b.reason END AS reason
    FROM dredge_breaker b WHERE b.namespace_id = {REGISTRY} OFFSET 0) everywhere ON true
"""


def find_holds(repositories: Mapping[int, int]) -> dict[int, str]:
    """Say in words why nothing may be removed from these repositories (id: its namespace's id) now.

    Leaves out repositories without a hold in force.  Call it in each batch, in the batch's transaction, so
    that a hold stops every process within one batch.  Only reads.
    """
    params = {"repositories": IntArray(repositories), "namespaces": IntArray(repositories.values())}
    return {row.held: _in_words(row) for row in run(_HOLDS, params)}


def find_stop(policy: Policy, *, now_ms: int) -> str:
    """Say in words why nothing may be removed anywhere now: closed window, or a hold of the registry.

    Empty if it may be.  Stages that do not use `find_holds` call it in each batch.  Only reads.
    """
    if policy.ignores_holds:
        return ""
    return outside_of_window(policy, now_ms=now_ms) or find_holds({0: 0}).get(0, "")


def outside_of_window(policy: Policy, *, now_ms: int) -> str:
    """Say in words that the window is closed; empty if it is open."""
    return "" if policy.window.is_open(now_ms) else f"it is outside of the window {policy.window.text}"


def find_open_breakers(windows: Mapping[int, int], *, policy: Policy) -> dict[int, str]:
    """Say in words why nothing may be removed from these namespaces (id: recovery window in ms) now.

    Leaves out namespaces with a closed breaker.  Pass the windows that the batch uses, because the check of
    a longer window is not valid for it.  Raises `BreakerUnchecked` if a breaker must be checked first: roll
    back, and call `check`.
    """
    if not policy.breaker_share:
        return {}
    params = {"namespaces": IntArray(windows), "windows": BigIntArray(windows.values())}
    rows = run(_BREAKERS, params)
    if unchecked := [row.namespace_id for row in rows if not row.reason and not row.valid]:
        raise BreakerUnchecked(unchecked)
    return {
        row.namespace_id: f"the {'registry' if row.is_everywhere else 'namespace'}'s breaker is open:"
        f" {row.reason} (see dredge approve)"
        for row in rows
        if row.reason
    }


def find_open_registry_breaker(policy: Policy) -> str:
    """Say in words why nothing may be purged now; empty if the registry's breaker is closed.

    Raises `BreakerUnchecked`, as `find_open_breakers` does.
    """
    return find_open_breakers({REGISTRY: 0}, policy=policy).get(REGISTRY, "")


def _in_words(row: Any) -> str:
    where = "the repository" if row.repository_id else "the namespace" if row.namespace_id else "the registry"
    return f"{where} is on hold ({row.author}: {row.reason})"
