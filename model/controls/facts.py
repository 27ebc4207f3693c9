"""The facts for the breaker: how many manifests of a namespace, or of the registry, become due, and when.

A manifest is due with its last tag.  Its children count with it, and not by their own temporary tags.
"""

from __future__ import annotations

from model.controls.judgement import AHEAD_MS, DAY_MS, HOUR_MS, Facts, Limits
from model.db.connection import fetch, fetch_one
from model.db.fragments import MARKED_MS
from model.db.tables import RepositoryState
from model.policy import Policy

MINUTE_MS = 60_000
_MARKED = int(RepositoryState.MARKED_FOR_DELETION)

# Tag `t` is the last tag of its manifest, and no index has the manifest as a child.
_LAST = """
    NOT EXISTS (SELECT FROM tag o WHERE o.manifest_id = t.manifest_id
                AND (o.lifetime_end_ms IS NULL OR o.lifetime_end_ms > t.lifetime_end_ms) OFFSET 0)
    AND NOT EXISTS (SELECT FROM manifestchild c WHERE c.child_manifest_id = t.manifest_id OFFSET 0)
    AND NOT (t.immutable AND %(protects_immutable)s)
"""

_NAMESPACE = f"""
WITH due AS MATERIALIZED (
    SELECT DISTINCT ON (t.manifest_id) t.manifest_id, t.lifetime_end_ms + %(window_ms)s AS due_ms
    FROM repository r CROSS JOIN LATERAL (
        SELECT t.manifest_id, t.lifetime_end_ms FROM tag t
        WHERE t.repository_id = r.id
          AND t.lifetime_end_ms > %(approved_ms)s - %(window_ms)s
          AND t.lifetime_end_ms <= %(now_ms)s + %(ahead_ms)s - %(window_ms)s
          AND {_LAST} OFFSET 0) t
    WHERE r.namespace_user_id = %(namespace_id)s AND r.state <> {_MARKED}
), moments AS (
    SELECT d.due_ms, false AS collected,
           1 + (SELECT count(*) FROM manifestchild c WHERE c.manifest_id = d.manifest_id) AS manifests
    FROM due d
    UNION ALL
    SELECT h.finished_ms, true, h.manifests
    FROM repository r CROSS JOIN LATERAL (
        SELECT h.finished_ms, h.manifests FROM dredge_collection h
        WHERE h.repository_id = r.id AND h.stage = 'collect' AND h.manifests > 0
          AND h.finished_ms > greatest(%(now_ms)s - {HOUR_MS}, %(approved_ms)s + {DAY_MS}) OFFSET 0) h
    WHERE r.namespace_user_id = %(namespace_id)s
)
SELECT due_ms / {MINUTE_MS} * {MINUTE_MS} AS at_ms, sum(manifests)::bigint AS manifests,
       coalesce(sum(manifests) FILTER (WHERE collected), 0)::bigint AS collected,
       coalesce(sum(manifests) FILTER (
           WHERE NOT collected AND due_ms > %(now_ms)s - (%(known_window_ms)s - %(window_ms)s)), 0)::bigint
           AS shortened
FROM moments GROUP BY 1
"""

_COUNT_NAMESPACE = f"""
SELECT count(*) AS manifests FROM repository r
CROSS JOIN LATERAL (SELECT FROM manifest m WHERE m.repository_id = r.id OFFSET 0) m
WHERE r.namespace_user_id = %(namespace_id)s AND r.state <> {_MARKED}
"""

# This many rows decide whether the share is exceeded; no more are counted.
_COUNT_REGISTRY = """
SELECT count(*) AS manifests FROM (SELECT FROM manifest LIMIT %(limit)s) m
"""

# Uses the index on lifetime_end_ms: reads the tags that ended within three hours, for each window in use.
# Does not count again what the breaker of its own namespace holds or has approved.
_REGISTRY = f"""
WITH windows AS MATERIALIZED (
    SELECT DISTINCT u.removed_tag_expiration_s AS window_s FROM "user" u WHERE u.enabled
), due AS MATERIALIZED (
    SELECT DISTINCT ON (t.manifest_id) t.manifest_id, t.lifetime_end_ms + w.window_s * 1000 AS due_ms
    FROM windows w CROSS JOIN LATERAL (
        SELECT t.manifest_id, t.lifetime_end_ms FROM tag t
        WHERE t.lifetime_end_ms > greatest(%(now_ms)s - {HOUR_MS}, %(approved_ms)s) - w.window_s * 1000
          AND t.lifetime_end_ms <= %(now_ms)s + %(ahead_ms)s - w.window_s * 1000
          AND {_LAST}
          AND EXISTS (
              SELECT FROM repository r JOIN "user" n ON n.id = r.namespace_user_id
              LEFT JOIN dredge_breaker b ON b.namespace_id = n.id
              WHERE r.id = t.repository_id AND r.state <> {_MARKED} AND n.enabled
                AND n.removed_tag_expiration_s = w.window_s AND b.opened_ms IS NULL
                AND t.lifetime_end_ms + w.window_s * 1000 > coalesce(b.approved_ms, 0) OFFSET 0)
        OFFSET 0) t
)
SELECT d.due_ms / {MINUTE_MS} * {MINUTE_MS} AS at_ms,
       sum(1 + (SELECT count(*) FROM manifestchild c WHERE c.manifest_id = d.manifest_id))::bigint
           AS manifests
FROM due d GROUP BY 1
"""


# Each deleted repository is purged when its grace, or its namespace's, is over: at once if that time is past.
# What was purged within the hour counts with it, but for a day after an approval, as in `_NAMESPACE`.
_PURGES = f"""
WITH doomed AS MATERIALIZED (
    SELECT id, min(due_ms) AS due_ms FROM (
        SELECT r.id, {MARKED_MS} + %(grace_ms)s AS due_ms
        FROM deletedrepository d JOIN repository r ON r.id = d.repository_id AND r.state = {_MARKED}
        UNION ALL
        SELECT r.id, {MARKED_MS} + %(grace_ms)s
        FROM deletednamespace d JOIN "user" n ON n.id = d.namespace_id AND NOT n.enabled
        JOIN repository r ON r.namespace_user_id = n.id) either GROUP BY id
)
SELECT greatest(p.due_ms, %(now_ms)s) / {MINUTE_MS} * {MINUTE_MS} AS at_ms, m.manifests, false AS purged
FROM doomed p CROSS JOIN LATERAL (
    SELECT count(*) AS manifests FROM manifest m WHERE m.repository_id = p.id OFFSET 0) m
WHERE p.due_ms > %(approved_ms)s AND p.due_ms <= %(now_ms)s + %(ahead_ms)s
UNION ALL
SELECT h.finished_ms / {MINUTE_MS} * {MINUTE_MS}, h.manifests, true FROM dredge_collection h
WHERE h.finished_ms > greatest(%(now_ms)s - {HOUR_MS}, %(approved_ms)s + {DAY_MS})
  AND h.stage = 'purge' AND h.manifests > 0
"""


def of_namespace(
    namespace_id: int,
    limits: Limits,
    *,
    window_ms: int,
    known_window_ms: int,
    approved_ms: int,
    now_ms: int,
    policy: Policy,
) -> Facts:
    """Return what becomes due in a namespace until two hours from now, after what was approved; only reads.

    `known_window_ms` is its recovery window at the last check.  Counts all manifests only if enough are due,
    or if the window was shortened.
    """
    params = {
        "namespace_id": namespace_id,
        "window_ms": window_ms,
        "known_window_ms": known_window_ms,
        "approved_ms": approved_ms,
        "now_ms": now_ms,
        "ahead_ms": AHEAD_MS,
        "protects_immutable": policy.protects_immutable,
    }
    rows = fetch(_NAMESPACE, params)
    moments = tuple((row.at_ms, row.manifests) for row in rows)
    is_shortened = window_ms < known_window_ms
    if not is_shortened and sum(manifests for _, manifests in moments) < limits.manifests:
        return Facts(moments)
    counted = fetch_one(_COUNT_NAMESPACE, params).manifests + sum(row.collected for row in rows)
    return Facts(
        moments,
        manifests=counted,
        registry_manifests=_count_registry(counted, limits) if is_shortened else 0,
        shortened=sum(row.shortened for row in rows) if is_shortened else None,
    )


def of_registry(limits: Limits, *, approved_ms: int, now_ms: int, policy: Policy) -> Facts:
    """Return what becomes due anywhere from an hour ago until two hours from now, after what was approved.

    Includes what purges of deleted repositories and namespaces delete.
    """
    params = {"approved_ms": approved_ms, "now_ms": now_ms, "ahead_ms": AHEAD_MS}
    tags = fetch(_REGISTRY, {**params, "protects_immutable": policy.protects_immutable})
    purges = fetch(_PURGES, {**params, "grace_ms": policy.purge_grace_ms})
    moments = tuple((row.at_ms, row.manifests) for row in (*tags, *purges))
    due = sum(manifests for _, manifests in moments)
    if due < limits.manifests:
        return Facts(moments)
    gone = sum(row.manifests for row in purges if row.purged)
    return Facts(
        moments,
        manifests=_count_registry(due, limits) + gone,
        purged=sum(row.manifests for row in purges),
    )


def _count_registry(due: int, limits: Limits) -> int:
    """Count the registry's manifests, up to the number that decides whether `due` exceeds the share."""
    limit = int(due * 100 / limits.share) + 1
    return int(fetch_one(_COUNT_REGISTRY, {"limit": limit}).manifests)
