"""What fails beside collections of repositories, with its reason and its next try."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import fetch

_TROUBLES = """
(SELECT 'erase' AS stage, location || ': ' || path AS subject, tries, due_ms AS next_try_ms,
        coalesce(last_error, '') AS reason
 FROM dredge_tombstone WHERE tries > 0 ORDER BY tries DESC, id LIMIT %(limit)s)
UNION ALL
(SELECT 'quarantine', location || ': ' || trash, tries, look_ms, coalesce(last_error, '')
 FROM dredge_quarantine WHERE tries > 0 ORDER BY tries DESC, id LIMIT %(limit)s)
UNION ALL
(SELECT 'reports', digest, tries, due_ms, coalesce(last_error, '')
 FROM dredge_report_debt WHERE tries > 0 ORDER BY tries DESC, id LIMIT %(limit)s)
UNION ALL
(SELECT 'purge', coalesce(n.original_username || '/' || d.original_name, u.username || '/' || d.original_name,
                          o.original_username, p.kind || ' #' || p.subject_id),
        p.failures, p.retry_ms, coalesce(p.last_error, '')
 FROM dredge_purge p
 LEFT JOIN deletedrepository d ON p.kind = 'repository' AND d.repository_id = p.subject_id
 LEFT JOIN repository r ON r.id = d.repository_id
 LEFT JOIN "user" u ON u.id = r.namespace_user_id
 LEFT JOIN deletednamespace n ON n.namespace_id = r.namespace_user_id
 LEFT JOIN deletednamespace o ON p.kind = 'namespace' AND o.namespace_id = p.subject_id
 WHERE p.failures > 0 ORDER BY p.failures DESC, p.subject_id LIMIT %(limit)s)
UNION ALL
(SELECT 'webhook', webhook || ': ' || type || ' ' || subject, tries,
        CASE WHEN dead_ms IS NULL THEN due_ms END,
        CASE WHEN dead_ms IS NULL THEN '' ELSE 'given up, see dredge webhook retry: ' END || last_error
 FROM dredge_delivery WHERE last_error IS NOT NULL ORDER BY tries DESC, id LIMIT %(limit)s)
ORDER BY tries DESC, stage, subject LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Trouble:
    """What its stage tries again at `next_try_ms` (None: it gave up), and why it did not work so far."""

    stage: str
    subject: str
    tries: int
    next_try_ms: int | None
    reason: str


def read_troubles(*, limit: int) -> list[Trouble]:
    """At most `limit` of them, most tries first; only reads."""
    return [Trouble(*row) for row in fetch(_TROUBLES, {"limit": limit})]
