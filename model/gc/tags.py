"""Which tags are past their recovery window, and which manifests may die with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from model.db.arrays import IntArray
from model.db.prepared import run_one
from model.gc.repository_lock import Scope
from model.policy import Policy

# Before every tag's end.  Ends may be before 1970: those of tags deleted for good with a window of centuries.
BEGINNING_MS = -(2**63)

# A tag row `t` that nobody can restore any more.  This statement reads the window itself.
UNRECOVERABLE = """
    t.repository_id = %(repository_id)s
    AND t.lifetime_end_ms <= %(now_ms)s
        - (SELECT n.removed_tag_expiration_s * 1000 FROM "user" n WHERE n.id = %(namespace_id)s)
    AND NOT (t.immutable AND %(protects_immutable)s)
"""


def unrecoverable_params(scope: Scope, policy: Policy) -> dict[str, int | bool]:
    """The parameters of `UNRECOVERABLE`."""
    return {
        "repository_id": scope.repository_id,
        "namespace_id": scope.namespace_id,
        "now_ms": scope.now_ms,
        "protects_immutable": policy.protects_immutable,
    }


# All manifests that may die with the seeds: their children, their subjects and, with `cascade`, their
# referrers; breadth first, so that parents come before children.
CLOSURE = """
    closure (id) AS (
        SELECT id FROM seeds WHERE id IS NOT NULL
        UNION
        SELECT next.id FROM closure c CROSS JOIN LATERAL (
            SELECT mc.child_manifest_id AS id FROM manifestchild mc WHERE mc.manifest_id = c.id
            UNION ALL
            SELECT s.id FROM manifest m
            JOIN manifest s ON s.repository_id = m.repository_id AND s.digest = m.subject
            WHERE m.id = c.id
            UNION ALL
            SELECT r.id FROM manifest m
            JOIN manifest r ON r.repository_id = m.repository_id AND r.subject = m.digest
            WHERE m.id = c.id AND %(cascade)s
        ) next
    )
"""

# `= ANY(ARRAY(…))` instead of `IN (…)`: an index probe for each id, whatever the statistics are.
# SKIP LOCKED: skips, without waiting, a tag that another transaction restores and a manifest that another
# transaction adopts.  This statement reads the windows itself.
_EXPIRE = f"""
WITH RECURSIVE scope AS MATERIALIZED (
    SELECT r.id, n.removed_tag_expiration_s * 1000 AS window_ms
    FROM unnest(%(repositories)s) WITH ORDINALITY AS s (id, place) JOIN repository r ON r.id = s.id
    JOIN "user" n ON n.id = r.namespace_user_id ORDER BY s.place
), doomed AS MATERIALIZED (
    SELECT d.* FROM scope CROSS JOIN LATERAL (
        SELECT t.id, t.repository_id, t.name, t.manifest_id, t.lifetime_end_ms FROM tag t
        WHERE t.repository_id = scope.id AND t.lifetime_end_ms <= %(now_ms)s - scope.window_ms
          AND NOT (t.immutable AND %(protects_immutable)s)
          AND t.lifetime_end_ms >= CAST(%(from_ms)s AS bigint)
        ORDER BY t.lifetime_end_ms, t.id LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED) d
    LIMIT %(limit)s
), notified AS (
    DELETE FROM tagnotificationsuccess s WHERE s.tag_id = ANY(ARRAY(SELECT id FROM doomed))
    RETURNING (SELECT t.repository_id FROM tag t WHERE t.id = s.tag_id) AS repository_id
), unlinked AS (
    UPDATE tag SET linked_tag_id = NULL
    WHERE linked_tag_id = ANY(ARRAY(SELECT id FROM doomed)) AND id <> ALL(ARRAY(SELECT id FROM doomed))
), gone AS (
    -- Safe: the row is locked, and was found unrecoverable by this statement.
    DELETE FROM tag t WHERE t.id = ANY(ARRAY(SELECT id FROM doomed)) RETURNING t.repository_id
), unpulled AS (
    -- Pulls are counted by name: they stay while the name has a living tag.
    DELETE FROM tagpullstatistics s
    WHERE s.id = ANY(ARRAY(
        SELECT p.id FROM doomed d CROSS JOIN LATERAL (
            SELECT p.id FROM tagpullstatistics p
            WHERE p.repository_id = d.repository_id AND p.tag_name = d.name OFFSET 0) p))
      AND NOT EXISTS (
          SELECT FROM tag a WHERE a.repository_id = s.repository_id AND a.name = s.tag_name
          AND (a.lifetime_end_ms IS NULL OR a.lifetime_end_ms > %(now_ms)s))
    RETURNING s.repository_id
), taken AS (
    -- Safe: judged below, in this transaction; what is not judged is recorded again.
    DELETE FROM dredge_manifest_candidate k WHERE k.id = ANY(ARRAY(
        SELECT c.id FROM scope CROSS JOIN LATERAL (
            SELECT c.id FROM dredge_manifest_candidate c
            WHERE c.repository_id = scope.id AND c.due_ms <= %(now_ms)s ORDER BY c.id LIMIT %(limit)s) c
        LIMIT %(limit)s))
    RETURNING k.manifest_id
), seeds (id) AS (
    SELECT manifest_id FROM doomed UNION SELECT manifest_id FROM taken
), {CLOSURE}, bounded AS MATERIALIZED (
    SELECT id FROM closure LIMIT %(closure_limit)s
), locked AS MATERIALIZED (
    SELECT m.id FROM manifest m
    WHERE m.id = ANY(ARRAY(SELECT id FROM bounded)) AND m.repository_id = ANY(%(repositories)s)
    FOR UPDATE SKIP LOCKED
), counted AS (
    SELECT repository_id, sum(tags) AS tags, count(*) AS rows FROM (
        SELECT repository_id, 1 AS tags FROM gone UNION ALL SELECT repository_id, 0 FROM notified
        UNION ALL SELECT repository_id, 0 FROM unpulled) removed
    GROUP BY 1
)
SELECT (SELECT count(*) FROM doomed) AS tags,
       (SELECT coalesce(max(lifetime_end_ms), CAST(%(from_ms)s AS bigint)) FROM doomed) AS reached_ms,
       (SELECT count(*) FROM taken) AS candidates,
       ARRAY(SELECT coalesce(manifest_id, 0) FROM doomed) AS tagged,
       ARRAY(SELECT lifetime_end_ms FROM doomed) AS ended,
       (SELECT json_agg(json_build_array(repository_id, tags, rows)) FROM counted) AS removed,
       ARRAY(SELECT id FROM seeds WHERE id IS NOT NULL UNION SELECT id FROM bounded) AS affected,
       (SELECT count(*) FROM bounded) AS bounded,
       ARRAY(SELECT id FROM locked) AS locked
"""


@dataclass(frozen=True)
class Expired:
    """The result of one `purge_expired_tags`; `tags` and `rows` by repository.

    `ended_ms`: for each manifest, the latest end of its deleted tags in milliseconds.
    """

    reached_ms: int
    has_more: bool
    truncated: bool
    locked: tuple[int, ...]
    unjudged: tuple[int, ...]
    tags: dict[int, int] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)
    ended_ms: dict[int, int] = field(default_factory=dict)


def purge_expired_tags(
    scopes: Sequence[Scope], *, policy: Policy, limit: int, from_ms: int = BEGINNING_MS
) -> Expired:
    """Delete at most `limit` unrecoverable tags, oldest end first, and lock what may die with them.

    The repositories come in their order: if the limit is reached, nothing of the last ones is deleted.

    Also takes up to `limit` recorded candidates.  `locked` are the manifests to judge, at most four
    times the limit.  `unjudged` are manifests that another transaction has locked, or beyond that limit;
    record them again in this transaction.  Idempotent.

    Reads only tags that ended at `from_ms` or later.  Pass the `reached_ms` of the batch before, so that
    this batch does not step over the index entries of tags that were deleted before.
    """
    closure_limit = 4 * limit
    found = run_one(
        _EXPIRE,
        {
            "repositories": IntArray(scope.repository_id for scope in scopes),
            "now_ms": scopes[0].now_ms,
            "protects_immutable": policy.protects_immutable,
            "cascade": policy.referrers == "cascade",
            "limit": limit,
            "closure_limit": closure_limit,
            "from_ms": from_ms,
        },
    )
    removed = found.removed or ()
    return Expired(
        reached_ms=found.reached_ms,
        has_more=found.tags == limit or found.candidates == limit,
        truncated=found.bounded == closure_limit,
        locked=tuple(found.locked),
        unjudged=tuple(sorted(set(found.affected) - set(found.locked))),
        tags={repository_id: tags for repository_id, tags, _ in removed},
        rows={repository_id: rows for repository_id, _, rows in removed},
        ended_ms=dict(sorted(zip(found.tagged, found.ended, strict=True), key=itemgetter(1))),
    )
