"""Why a manifest still exists, or when it is deleted.  Only reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from model.db.connection import fetch, fetch_one
from model.gc.inspect.explain_object import explain_blob
from model.gc.inspect.explanation import Explanation
from model.gc.inspect.plan import plan_repository
from model.gc.manifests.judge import judge, read_manifest_uses
from model.gc.repository_lock import Scope, read_repository
from model.human import human_ms
from model.in_use import is_in_use
from model.policy import Policy

_TAGS = """
SELECT t.name, t.hidden, t.immutable, t.lifetime_end_ms AS end_ms,
       least(t.lifetime_end_ms::numeric + %(window_ms)s, 9223372036854775807)::bigint AS due_ms
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

_EVERYWHERE = """
SELECT m.repository_id, n.username || '/' || r.name AS repository FROM manifest m
JOIN repository r ON r.id = m.repository_id JOIN "user" n ON n.id = r.namespace_user_id
WHERE m.digest = %(digest)s ORDER BY 2 LIMIT 20
"""


def explain(repository_id: int, digest: str, *, policy: Policy) -> Explanation | None:
    """Explain why the manifest or blob of that digest exists; None if nothing has the digest.

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
            ("its namespace is disabled, or its repository is marked for deletion: it is not collected",),
        )
    if row is not None and scope is not None:
        return _manifest(scope, row.id, digest, policy)
    return explain_blob(digest)


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
        return f"has the {kind} {tag.name}, which ends in {human_ms(tag.end_ms - scope.now_ms)}"
    if tag.due_ms > scope.now_ms:
        left = human_ms(tag.due_ms - scope.now_ms)
        return f"had the {kind} {tag.name}, which can be restored for {left} more"
    return f"had the {kind} {tag.name}, past its recovery window"


def explain_digest(digest: str, *, policy: Policy) -> list[Explanation]:
    """Explain every manifest with that digest, in at most 20 repositories, and the blob."""
    found = []
    for row in fetch(_EVERYWHERE, {"digest": digest}):
        explained = explain(row.repository_id, digest, policy=policy)
        if explained is not None:
            found.append(replace(explained, subject=f"{row.repository}@{digest}"))
    blob = explain_blob(digest)
    return found if blob is None else [*found, blob]
