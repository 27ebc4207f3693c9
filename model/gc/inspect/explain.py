"""Why a manifest or a blob is still there, or when it will go.  Only reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.db.clock import now_ms
from model.db.connection import fetch, fetch_one
from model.gc.inspect.plan import plan_repository
from model.gc.manifests.judge import judge, read_manifest_uses
from model.gc.repository_lock import Scope, read_repository
from model.in_use import is_in_use
from model.policy import Policy


@dataclass(frozen=True)
class Explanation:
    """`kept` or not, and the reasons in words, most important first."""

    kind: str
    digest: str
    kept: bool
    reasons: tuple[str, ...]


_TAGS = """
SELECT t.name, t.hidden, t.immutable, t.lifetime_end_ms AS end_ms,
       t.lifetime_end_ms + %(window_ms)s AS due_ms
FROM tag t WHERE t.manifest_id = %(id)s ORDER BY t.lifetime_end_ms NULLS FIRST, t.id LIMIT 20
"""

_HOLDERS = """
SELECT 'is listed by the index ' || p.digest AS reason
FROM manifestchild c JOIN manifest p ON p.id = c.manifest_id WHERE c.child_manifest_id = %(id)s
UNION ALL
SELECT 'is the subject of ' || r.digest FROM manifest r
WHERE NOT %(cascade)s AND r.repository_id = %(repository_id)s AND r.subject = %(digest)s
UNION ALL
SELECT 'lives as long as its subject ' || s.digest FROM manifest m
JOIN manifest s ON s.repository_id = m.repository_id AND s.digest = m.subject
WHERE %(cascade)s AND m.id = %(id)s
LIMIT 20
"""

_BLOB = """
SELECT DISTINCT ON (b.id) b.id, b.image_size,
       EXISTS (SELECT FROM dredge_blob_candidate c WHERE c.blob_id = b.id) AS candidate,
       ARRAY(SELECT n.username || '/' || r.name || '@' || m.digest
             FROM manifestblob mb JOIN manifest m ON m.id = mb.manifest_id
             JOIN repository r ON r.id = mb.repository_id JOIN "user" n ON n.id = r.namespace_user_id
             WHERE mb.blob_id = b.id LIMIT 5) AS manifests,
       ARRAY(SELECT n.username || '/' || r.name FROM uploadedblob u
             JOIN repository r ON r.id = u.repository_id JOIN "user" n ON n.id = r.namespace_user_id
             WHERE u.blob_id = b.id LIMIT 5) AS pushes,
       EXISTS (SELECT FROM imagestorageplacement p WHERE p.storage_id = b.id) AS placed
FROM imagestorage b WHERE b.content_checksum = %s ORDER BY b.id
"""


def explain(repository_id: int, digest: str, *, policy: Policy) -> Explanation | None:
    """Why the manifest or blob of that digest is there; None where nothing has the digest.

    A manifest is looked up in the repository, a blob in the whole registry.
    """
    scope = read_repository(repository_id)
    row = fetch_one(
        "SELECT id FROM manifest WHERE repository_id = %s AND digest = %s", (repository_id, digest)
    )
    if row is not None and scope is None:
        return Explanation(
            "manifest",
            digest,
            True,
            ("its namespace is disabled, or its repository is marked for deletion: left alone",),
        )
    if row is not None and scope is not None:
        return _manifest(scope, row.id, digest, policy)
    return _blob(digest)


def _manifest(scope: Scope, manifest_id: int, digest: str, policy: Policy) -> Explanation:
    params = {
        "id": manifest_id,
        "digest": digest,
        "repository_id": scope.repository_id,
        "window_ms": scope.window_ms,
        "cascade": policy.referrers == "cascade",
    }
    reasons = [_tag_reason(tag, scope) for tag in fetch(_TAGS, params)]
    reasons += [linked.reason for linked in fetch(_HOLDERS, params)]
    plan = plan_repository(scope.repository_id, policy=policy)
    if plan is not None and manifest_id in plan.manifest_ids:
        return Explanation("manifest", digest, False, ("goes with the next collection", *reasons))
    if is_in_use(digest):
        reasons.insert(0, "runs somewhere: it is in the list of digests in use")
        return Explanation("manifest", digest, True, tuple(reasons))
    if manifest_id in judge(read_manifest_uses([manifest_id], policy=policy, now_ms=scope.now_ms)):
        reasons.insert(0, "nothing uses it, but no tag led here: dredge sweep will find it")
        return Explanation("manifest", digest, False, tuple(reasons))
    return Explanation("manifest", digest, True, tuple(reasons))


def _tag_reason(tag: Any, scope: Scope) -> str:
    kind = "hidden tag" if tag.hidden else "immutable tag" if tag.immutable else "tag"
    if tag.end_ms is None:
        return f"has the living {kind} {tag.name}"
    if tag.end_ms > scope.now_ms:
        return f"has the {kind} {tag.name}, which ends in {(tag.end_ms - scope.now_ms) // 1000} s"
    if tag.due_ms > scope.now_ms:
        left_s = (tag.due_ms - scope.now_ms) // 1000
        return f"had the {kind} {tag.name}, which can be restored for {left_s} s more"
    return f"had the {kind} {tag.name}, past its recovery window"


def _blob(digest: str) -> Explanation | None:
    rows = fetch(_BLOB, (digest,))
    if rows:
        reasons = [f"is used by {name}" for row in rows for name in row.manifests]
        reasons += [f"is held by a push to {name}" for row in rows for name in row.pushes]
        if reasons:
            return Explanation("blob", digest, True, tuple(reasons))
        if any(row.candidate for row in rows):
            return Explanation("blob", digest, False, ("goes with the next review",))
        if any(not row.placed for row in rows):
            return Explanation("blob", digest, True, ("has no placement: a download in progress",))
        return Explanation("blob", digest, False, ("nothing refers to it: dredge sweep will find it",))
    tombstone = fetch_one(
        "SELECT due_ms, tries, last_error FROM dredge_tombstone WHERE digest = %s ORDER BY due_ms", (digest,)
    )
    if tombstone is None:
        return None
    wait = max(0, tombstone.due_ms - now_ms()) // 1000
    why = f", after {tombstone.tries} failures: {tombstone.last_error}" if tombstone.tries else ""
    return Explanation("object", digest, False, (f"its object will be erased in {wait} s{why}",))
