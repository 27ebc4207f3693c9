"""Invariants of manifests: which are used, computed a second time and independently of the collector.

The collector judges a few candidates by their holders.  This module walks from all tags of a slice of
repositories down to their manifests, so that a mistake in one is not repeated in the other.
"""

from __future__ import annotations

from collections.abc import Iterator

from model.db.connection import fetch
from model.fsck.check import Check

REPOSITORIES_PER_SLICE = 2_000

# With `pin` any tag row counts and a used referrer keeps its subject.  With `cascade` the hidden
# tag of a referrer counts only while its subject is not there and the grace runs, and a used
# subject keeps its referrers.
USED = """
WITH RECURSIVE slice AS MATERIALIZED (
    SELECT m.id, m.repository_id, m.digest, m.subject FROM manifest m
    WHERE m.repository_id > %(above)s AND m.repository_id <= %(upto)s
), used(id) AS (
    SELECT m.id FROM slice m JOIN tag t ON t.manifest_id = m.id
    WHERE NOT %(cascade)s OR m.subject IS NULL OR NOT t.hidden OR t.lifetime_end_ms IS NOT NULL
       OR (t.lifetime_start_ms > %(now_ms)s - %(grace_ms)s AND NOT EXISTS
            (SELECT FROM manifest s WHERE s.repository_id = m.repository_id AND s.digest = m.subject))
    UNION
    SELECT next.id FROM used JOIN slice m ON m.id = used.id CROSS JOIN LATERAL (
        SELECT c.child_manifest_id FROM manifestchild c WHERE c.manifest_id = m.id
        UNION ALL
        SELECT s.id FROM manifest s
        WHERE NOT %(cascade)s AND s.repository_id = m.repository_id AND s.digest = m.subject
        UNION ALL
        SELECT s.id FROM manifest s
        WHERE %(cascade)s AND s.repository_id = m.repository_id AND s.subject = m.digest
    ) AS next(id)
), dead AS MATERIALIZED (
    SELECT m.id, m.repository_id, m.digest, m.subject FROM slice m
    WHERE NOT EXISTS (SELECT FROM used WHERE used.id = m.id)
), traced(id) AS (
    -- What a collection starts from: a candidate, a tag that is due, a repository that is purged ...
    SELECT m.id FROM dead m
    JOIN repository r ON r.id = m.repository_id JOIN "user" n ON n.id = r.namespace_user_id
    WHERE r.state = 3
       OR EXISTS (SELECT FROM dredge_manifest_candidate k
                  WHERE k.repository_id = m.repository_id AND k.manifest_id = m.id)
       OR EXISTS (SELECT FROM tag t WHERE t.manifest_id = m.id
                  AND t.lifetime_end_ms <= %(now_ms)s - n.removed_tag_expiration_s * 1000)
    UNION
    -- ... and what it comes to from there: children, subjects and, with `cascade`, referrers.
    SELECT next.id FROM traced JOIN dead m ON m.id = traced.id CROSS JOIN LATERAL (
        SELECT c.child_manifest_id FROM manifestchild c WHERE c.manifest_id = m.id
        UNION ALL
        SELECT s.id FROM dead s WHERE s.repository_id = m.repository_id AND s.digest = m.subject
        UNION ALL
        SELECT s.id FROM dead s
        WHERE %(cascade)s AND s.repository_id = m.repository_id AND s.subject = m.digest
    ) AS next(id) WHERE next.id IN (SELECT id FROM dead)
)
"""
SHOWN = "n.username || '/' || r.name || '@' || m.digest || ' (manifest ' || m.id || ')'"
SCOPE = ' JOIN repository r ON r.id = m.repository_id JOIN "user" n ON n.id = r.namespace_user_id'

SLICED = (
    Check(
        "manifest-orphaned",
        "violation",
        "a dead manifest that nothing leads to: no candidate row, no tag that ends, no other dead manifest",
        "`dredge sweep` finds it (two passes, then the collector judges it).",
        f"{USED} SELECT {SHOWN} FROM dead m{SCOPE} WHERE m.id NOT IN (SELECT id FROM traced)",
    ),
    Check(
        "manifest-dead",
        "pending",
        "a dead manifest that its repository's next collection will judge",
        "The next collection of its repository takes it.",
        f"{USED} SELECT {SHOWN} FROM dead m{SCOPE} WHERE m.id IN (SELECT id FROM traced)",
    ),
)

CHECKS = (
    Check(
        "manifest-statistics-without-manifest",
        "violation",
        "pull statistics of a manifest that its repository does not have",
        "`dredge sweep` removes them.",
        """
        SELECT 'repository ' || s.repository_id || ' ' || s.manifest_digest FROM manifestpullstatistics s
            WHERE NOT EXISTS (SELECT FROM manifest m
            WHERE m.repository_id = s.repository_id AND m.digest = s.manifest_digest)
        """,
    ),
    Check(
        "label-orphaned",
        "violation",
        "a label that no manifest carries",
        "`dredge sweep` removes it (two passes).",
        """
        SELECT 'label ' || l.id || ' ' || l.key FROM label l
            WHERE NOT EXISTS (SELECT FROM manifestlabel m WHERE m.label_id = l.id)
        """,
    ),
    Check(
        "candidate-of-no-repository",
        "violation",
        "a manifest candidate of a repository that does not exist: no collection will ever visit it",
        "Delete the row; it is harmless.",
        """
        SELECT 'candidate ' || k.id || ' repository ' || k.repository_id FROM dredge_manifest_candidate k
            WHERE NOT EXISTS (SELECT FROM repository r WHERE r.id = k.repository_id)
        """,
    ),
    Check(
        "manifest-candidate",
        "pending",
        "a manifest waiting to be judged",
        "The next collection of its repository judges it.",
        """
        SELECT 'repository ' || k.repository_id || ' manifest ' || k.manifest_id
            FROM dredge_manifest_candidate k WHERE k.due_ms <= %(now_ms)s
        """,
    ),
    Check(
        "manifest-candidate-later",
        "pending",
        "a referrer that waits for its subject, to be judged when its grace is over",
        "None: its repository's collection judges it then.",
        """
        SELECT 'repository ' || k.repository_id || ' manifest ' || k.manifest_id
            FROM dredge_manifest_candidate k WHERE k.due_ms > %(now_ms)s
        """,
    ),
    Check(
        "repository-marked",
        "pending",
        "a repository marked for deletion",
        "It is purged when its grace is over; until then `dredge repository restore` brings it back.",
        """
        SELECT n.username || '/' || r.name FROM repository r JOIN "user" n ON n.id = r.namespace_user_id
            WHERE r.state = 3
        """,
    ),
)

# Compares the bytes of each manifest with its rows.  Reads every manifest, so it runs only on request.
DEEP = (
    Check(
        "manifest-bytes-differ",
        "violation",
        "a manifest whose bytes do not have its digest",
        "The manifest cannot be pulled by digest: push the image again.",
        f"""
        SELECT {SHOWN} FROM manifest m{SCOPE} JOIN mediatype y ON y.id = m.media_type_id
            WHERE m.digest LIKE 'sha256:%%'
            AND y.name NOT LIKE 'application/vnd.docker.distribution.manifest.v1%%'
            AND m.digest <> 'sha256:' || encode(sha256(convert_to(m.manifest_bytes, 'UTF8')), 'hex')
        """,
    ),
)


def find_slices() -> Iterator[tuple[int, int]]:
    """Yield ranges of repository ids, `(above, upto]`, that together have every repository."""
    above = 0
    while True:
        upto = fetch(
            "SELECT max(id) AS id FROM (SELECT id FROM repository WHERE id > %s ORDER BY id LIMIT %s) page",
            (above, REPOSITORIES_PER_SLICE),
        )[0].id
        if upto is None:
            return
        yield above, upto
        above = upto
