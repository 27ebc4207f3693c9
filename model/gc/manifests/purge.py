"""The rows that die with a manifest, in one statement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.db.connection import IntArray, fetch
from model.db.prepared import run_one
from model.gc.repository_lock import Scope
from model.policy import Policy

# Safe: every manifest in %(dead)s is locked FOR UPDATE and was judged unused after the lock was
# taken; whoever wants to refer to one now waits for its row and then finds it gone.  Blobs are
# recorded as candidates without looking: whether one is still used is decided by the review.
_PURGE = """
WITH hidden AS (
    DELETE FROM tag t WHERE t.manifest_id = ANY(%(dead)s) RETURNING t.id
), unlinked AS (
    UPDATE tag SET linked_tag_id = NULL
    WHERE linked_tag_id = ANY(ARRAY(SELECT id FROM hidden)) AND id <> ALL(ARRAY(SELECT id FROM hidden))
), notified AS (
    DELETE FROM tagnotificationsuccess s
    WHERE s.tag_id = ANY(ARRAY(SELECT id FROM hidden)) RETURNING 1
), children AS (
    -- A dead manifest's parents are dead too, so this takes every row that names it as a child.
    DELETE FROM manifestchild c WHERE c.manifest_id = ANY(%(dead)s) RETURNING 1
), blobs AS (
    DELETE FROM manifestblob b WHERE b.manifest_id = ANY(%(dead)s) RETURNING b.blob_id
), labelled AS (
    DELETE FROM manifestlabel l WHERE l.manifest_id = ANY(%(dead)s) RETURNING l.label_id
), labels AS (
    -- Those whose every use was among the rows just deleted.
    DELETE FROM label l WHERE l.id = ANY(ARRAY(
        SELECT d.label_id FROM (SELECT label_id, count(*) AS uses FROM labelled GROUP BY 1) d
        WHERE d.uses = (SELECT count(*) FROM manifestlabel o WHERE o.label_id = d.label_id)))
    RETURNING 1
), scanned AS (
    DELETE FROM manifestsecuritystatus s WHERE s.manifest_id = ANY(%(dead)s) RETURNING s.manifest_id
), gone AS (
    DELETE FROM manifest m WHERE m.id = ANY(%(dead)s) RETURNING m.id, m.digest, m.subject
), unpulled AS (
    DELETE FROM manifestpullstatistics p
    WHERE p.repository_id = %(repository_id)s AND p.manifest_digest = ANY(ARRAY(SELECT digest FROM gone))
    RETURNING 1
), reports AS (
    INSERT INTO dredge_report_debt (digest, created_ms, due_ms)
    SELECT g.digest, %(now_ms)s, %(now_ms)s FROM gone g
    WHERE %(security_reports)s AND g.id IN (SELECT manifest_id FROM scanned)
), lost AS MATERIALIZED (
    SELECT DISTINCT blob_id FROM blobs
), candidates AS (
    INSERT INTO dredge_blob_candidate (blob_id, repository_id, created_ms)
    SELECT blob_id, %(repository_id)s, %(now_ms)s FROM lost
)
SELECT (SELECT count(*) FROM hidden) AS tags,
       (SELECT count(*) FROM hidden) + (SELECT count(*) FROM notified) + (SELECT count(*) FROM children)
           + (SELECT count(*) FROM blobs) + (SELECT count(*) FROM labelled) + (SELECT count(*) FROM labels)
           + (SELECT count(*) FROM scanned) + (SELECT count(*) FROM gone)
           + (SELECT count(*) FROM unpulled) AS rows,
       (SELECT coalesce(json_agg(json_build_array(digest, subject)), '[]') FROM gone) AS manifests,
       ARRAY(SELECT blob_id FROM lost) AS blobs
"""


@dataclass(frozen=True)
class Purged:
    """The outcome of one `purge_manifests`; `manifests` are (digest, subject or None)."""

    manifests: tuple[tuple[str, str | None], ...] = ()
    blob_ids: tuple[int, ...] = ()
    tags: int = 0
    rows: int = 0


def purge_manifests(scope: Scope, dead: Iterable[int], *, policy: Policy) -> Purged:
    """Delete dead manifests with every row that follows them; their blobs become candidates.

    One statement whatever their number.  A second run deletes nothing.
    """
    found = run_one(
        _PURGE,
        {
            "dead": IntArray(dead),
            "repository_id": scope.repository_id,
            "now_ms": scope.now_ms,
            "security_reports": policy.security_reports,
        },
    )
    return Purged(
        manifests=tuple((digest, subject) for digest, subject in found.manifests),
        blob_ids=tuple(found.blobs),
        tags=found.tags,
        rows=found.rows,
    )


_NEIGHBOURS = """
SELECT DISTINCT next.id FROM unnest(%(dead)s) AS d (id) CROSS JOIN LATERAL (
    SELECT c.child_manifest_id AS id FROM manifestchild c WHERE c.manifest_id = d.id
    UNION ALL
    SELECT s.id FROM manifest m JOIN manifest s ON s.repository_id = m.repository_id
        AND (s.digest = m.subject OR s.subject = m.digest) WHERE m.id = d.id
) next WHERE next.id <> ALL(%(dead)s)
"""


def find_adjacent(dead: Iterable[int]) -> tuple[int, ...]:
    """Manifests beside the dead ones that must be judged next; only reads.

    Asked only where a batch could not reach the whole graph.
    """
    return tuple(row.id for row in fetch(_NEIGHBOURS, {"dead": IntArray(dead)}))
