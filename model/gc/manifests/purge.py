"""The one statement that deletes dead manifests and all rows that depend on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from model.db.arrays import IntArray
from model.db.connection import fetch
from model.db.prepared import run_one
from model.policy import Policy

# Safe: every manifest in %(dead)s is locked FOR UPDATE, and was judged unused after the lock was taken.  A
# statement that wants to refer to one waits for its row, and then finds that it is gone.  Every blob is
# recorded as a candidate without a check; the review decides whether it is still used.
_PURGE = """
WITH hidden AS (
    DELETE FROM tag t WHERE t.manifest_id = ANY(%(dead)s) RETURNING t.id, t.repository_id
), unlinked AS (
    UPDATE tag SET linked_tag_id = NULL
    WHERE linked_tag_id = ANY(ARRAY(SELECT id FROM hidden)) AND id <> ALL(ARRAY(SELECT id FROM hidden))
), notified AS (
    DELETE FROM tagnotificationsuccess s
    WHERE s.tag_id = ANY(ARRAY(SELECT id FROM hidden))
    RETURNING (SELECT t.repository_id FROM tag t WHERE t.id = s.tag_id) AS repository_id
), children AS (
    -- A dead manifest's parents are dead too, so this takes every row that names it as a child.
    DELETE FROM manifestchild c WHERE c.manifest_id = ANY(%(dead)s) RETURNING c.repository_id
), blobs AS (
    DELETE FROM manifestblob b WHERE b.manifest_id = ANY(%(dead)s) RETURNING b.blob_id, b.repository_id
), labelled AS (
    DELETE FROM manifestlabel l WHERE l.manifest_id = ANY(%(dead)s) RETURNING l.label_id, l.repository_id
), unused AS MATERIALIZED (
    SELECT d.label_id, d.repository_id FROM (
        SELECT label_id, min(repository_id) AS repository_id, count(*) AS uses FROM labelled GROUP BY 1) d
    WHERE d.uses = (SELECT count(*) FROM manifestlabel o WHERE o.label_id = d.label_id)
), labels AS (
    -- Safe: every use of these was among the rows just deleted.
    DELETE FROM label l WHERE l.id = ANY(ARRAY(SELECT label_id FROM unused))
), scanned AS (
    DELETE FROM manifestsecuritystatus s WHERE s.manifest_id = ANY(%(dead)s)
    RETURNING s.manifest_id, s.repository_id
), gone AS (
    DELETE FROM manifest m WHERE m.id = ANY(%(dead)s) RETURNING m.id, m.repository_id, m.digest, m.subject
), unpulled AS (
    DELETE FROM manifestpullstatistics p
    WHERE p.id = ANY(ARRAY(
        SELECT q.id FROM gone g CROSS JOIN LATERAL (
            SELECT q.id FROM manifestpullstatistics q
            WHERE q.repository_id = g.repository_id AND q.manifest_digest = g.digest OFFSET 0) q))
    RETURNING p.repository_id
), reports AS (
    INSERT INTO dredge_report_debt (digest, created_ms, due_ms)
    SELECT g.digest, %(now_ms)s, %(now_ms)s FROM gone g
    WHERE %(security_reports)s AND (g.id IN (SELECT manifest_id FROM scanned)) IS TRUE
), lost AS MATERIALIZED (
    SELECT DISTINCT repository_id, blob_id FROM blobs
), candidates AS (
    INSERT INTO dredge_blob_candidate (blob_id, repository_id, created_ms)
    SELECT blob_id, repository_id, %(now_ms)s FROM lost
), counted AS (
    SELECT repository_id, sum(tag) AS tags, count(*) AS rows FROM (
        SELECT repository_id, 1 AS tag FROM hidden UNION ALL SELECT repository_id, 0 FROM notified
        UNION ALL SELECT repository_id, 0 FROM children UNION ALL SELECT repository_id, 0 FROM blobs
        UNION ALL SELECT repository_id, 0 FROM labelled UNION ALL SELECT repository_id, 0 FROM unused
        UNION ALL SELECT repository_id, 0 FROM scanned UNION ALL SELECT repository_id, 0 FROM gone
        UNION ALL SELECT repository_id, 0 FROM unpulled) removed
    GROUP BY 1
)
SELECT (SELECT json_agg(json_build_array(repository_id, tags, rows)) FROM counted) AS removed,
       (SELECT json_agg(json_build_array(repository_id, id, digest, subject)) FROM gone) AS manifests,
       l.repositories, l.blobs
FROM (SELECT array_agg(repository_id) AS repositories, array_agg(blob_id) AS blobs FROM lost) l
"""


@dataclass(frozen=True)
class Purged:
    """What `purge_manifests` removed, by repository.  `manifests` are (digest, subject or None).

    `ids` are the ids of these manifests, in the same order.
    """

    manifests: dict[int, list[tuple[str, str | None]]] = field(default_factory=dict)
    ids: dict[int, list[int]] = field(default_factory=dict)
    blob_ids: dict[int, list[int]] = field(default_factory=dict)
    tags: dict[int, int] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)


def purge_manifests(dead: Iterable[int], *, policy: Policy, now_ms: int) -> Purged:
    """Delete dead manifests and every row that depends on them; their blobs become candidates.

    Runs one statement, however many manifests and repositories there are.  Idempotent.
    """
    found = run_one(
        _PURGE,
        {"dead": IntArray(dead), "now_ms": now_ms, "security_reports": policy.security_reports},
    )
    purged = Purged()
    for repository_id, id, digest, subject in found.manifests or ():
        purged.ids.setdefault(repository_id, []).append(id)
        purged.manifests.setdefault(repository_id, []).append((digest, subject))
    for repository_id, blob_id in zip(found.repositories or (), found.blobs or (), strict=True):
        purged.blob_ids.setdefault(repository_id, []).append(blob_id)
    for repository_id, tags, rows in found.removed or ():
        purged.tags[repository_id], purged.rows[repository_id] = tags, rows
    return purged


_ADJACENT = """
SELECT DISTINCT next.id FROM unnest(%(dead)s) AS d (id) CROSS JOIN LATERAL (
    SELECT c.child_manifest_id AS id FROM manifestchild c WHERE c.manifest_id = d.id
    UNION ALL
    SELECT s.id FROM manifest m JOIN manifest s ON s.repository_id = m.repository_id
        AND (s.digest = m.subject OR s.subject = m.digest) WHERE m.id = d.id
) next WHERE next.id <> ALL(%(dead)s)
"""


def find_adjacent(dead: Iterable[int]) -> tuple[int, ...]:
    """Return the manifests adjacent to dead ones, which must be judged next; only reads.

    Needed only if a batch could not reach the whole graph.
    """
    return tuple(row.id for row in fetch(_ADJACENT, {"dead": IntArray(dead)}))
