"""Repositories with garbage, longest waiting first."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import fetch
from model.db.fragments import is_abandoned_upload, is_expired_marker
from model.db.tables import RepositoryState
from model.policy import Policy

# One index probe by (repository_id, lifetime_end_ms) for each repository of the slice, and one for its owner.
# So the slice bounds the cost, whatever the size of the registry.  Tags inside their window, and owners of
# other repositories, are never read.
IN_SLICE = f"""
WITH slice AS MATERIALIZED (
    SELECT r.id, r.namespace_user_id, r.state FROM repository r
    WHERE r.id > %(after)s ORDER BY r.id LIMIT %(slice)s
), due AS (
    SELECT s.id, s.namespace_user_id AS namespace_id, t.due_ms FROM slice s
    CROSS JOIN LATERAL (
        SELECT u.removed_tag_expiration_s FROM "user" u
        WHERE u.id = s.namespace_user_id AND u.enabled OFFSET 0) n
    CROSS JOIN LATERAL (
        SELECT t.lifetime_end_ms + n.removed_tag_expiration_s * 1000 AS due_ms FROM tag t
        WHERE t.repository_id = s.id
          AND t.lifetime_end_ms <= %(now_ms)s - n.removed_tag_expiration_s * 1000
          AND NOT (t.immutable AND %(protects_immutable)s)
        ORDER BY t.lifetime_end_ms LIMIT 1) t
    WHERE s.state <> {int(RepositoryState.MARKED_FOR_DELETION)}
      AND NOT EXISTS (SELECT FROM dredge_due f
                      WHERE f.repository_id = s.id AND f.attempts > 0 AND f.next_try_ms > %(now_ms)s)
)
SELECT id, namespace_id, due_ms, (SELECT max(id) FROM slice) AS last, (SELECT count(*) FROM slice) AS looked
FROM due
UNION ALL
SELECT NULL, NULL, NULL, max(id), count(*) FROM slice
"""

# Repositories that may be collected now.  Tested before the limit: rows of a disabled namespace, or of a
# failing repository, must not use up the limit.
_COLLECTABLE = f"""
     JOIN repository r ON r.id = w.repository_id AND r.state <> {int(RepositoryState.MARKED_FOR_DELETION)}
     JOIN "user" n ON n.id = r.namespace_user_id AND n.enabled
     WHERE NOT EXISTS (SELECT FROM dredge_due f
                       WHERE f.repository_id = w.repository_id AND f.attempts > 0
                         AND f.next_try_ms > %(now_ms)s)
"""

# Garbage that is not a tag: expired push markers, unfinished uploads and recorded candidates, each by an
# index on the due time.  Also attempts whose next try has come: if an attempt failed after its last batch
# had committed, only another collection clears it.
_OTHERS = f"""
SELECT w.repository_id AS id, r.namespace_user_id AS namespace_id, min(w.due_ms) AS due_ms FROM (
    (SELECT w.repository_id, (extract(epoch FROM w.expires_at) * 1000)::bigint AS due_ms
     FROM uploadedblob w {_COLLECTABLE}
     AND {is_expired_marker("w")}
     ORDER BY w.expires_at LIMIT %(limit)s)
    UNION ALL
    (SELECT w.repository_id, (extract(epoch FROM w.created) * 1000)::bigint + %(upload_ttl_ms)s
     FROM blobupload w {_COLLECTABLE}
     AND {is_abandoned_upload("w")}
     ORDER BY w.created LIMIT %(limit)s)
    UNION ALL
    (SELECT w.repository_id, greatest(w.created_ms, w.due_ms)
     FROM dredge_manifest_candidate w {_COLLECTABLE} AND w.due_ms <= %(now_ms)s
     ORDER BY w.due_ms, w.id LIMIT %(limit)s)
    UNION ALL
    (SELECT w.repository_id, w.next_try_ms FROM dredge_due w {_COLLECTABLE}
     AND w.attempts > 0 AND w.next_try_ms <= %(now_ms)s ORDER BY w.next_try_ms LIMIT %(limit)s)
) w
JOIN repository r ON r.id = w.repository_id
GROUP BY 1, 2
"""


@dataclass(frozen=True)
class Due:
    """A repository with garbage, and since when in milliseconds."""

    repository_id: int
    namespace_id: int
    due_ms: int


@dataclass(frozen=True)
class ScanSlice:
    """The result of one slice.  `last` is the next call's `after`, 0 at the end of the registry."""

    due: tuple[Due, ...]
    last: int
    looked: int


def slice_params(*, after: int, slice: int, policy: Policy, now_ms: int) -> dict[str, int | bool]:
    """Return the parameters of `IN_SLICE`."""
    return {
        "after": after,
        "slice": slice,
        "now_ms": now_ms,
        "protects_immutable": policy.protects_immutable,
    }


def find_in_slice(*, after: int, slice: int, policy: Policy, now_ms: int) -> ScanSlice:
    """Find repositories with unrecoverable tags among the `slice` that follow id `after`; only reads.

    Leaves out failing repositories until their next try.
    """
    rows = fetch(IN_SLICE, slice_params(after=after, slice=slice, policy=policy, now_ms=now_ms))
    summary = rows.pop()
    due = tuple(Due(row.id, row.namespace_id, row.due_ms) for row in rows)
    ended = summary.looked < slice
    return ScanSlice(due, 0 if ended else summary.last, summary.looked)


def find_others(*, policy: Policy, now_ms: int, limit: int) -> tuple[Due, ...]:
    """Find repositories with garbage other than tags, from at most `limit` rows of each kind; only reads."""
    rows = fetch(_OTHERS, {"now_ms": now_ms, "upload_ttl_ms": policy.upload_ttl_ms, "limit": limit})
    return tuple(Due(*row) for row in rows)


def rank(found: list[Due], *, limit: int) -> list[Due]:
    """Return the first `limit` to visit: longest waiting first, namespaces take turns.

    The repositories of each namespace are ordered by how long they wait.  The first of every namespace
    come first, then the second of every namespace, and so on.  So a namespace with a million repositories
    does not delay one with ten.  Each repository appears once.
    """
    earliest: dict[int, Due] = {}
    for due in found:
        known = earliest.get(due.repository_id)
        if known is None or due.due_ms < known.due_ms:
            earliest[due.repository_id] = due
    turn: dict[int, int] = {}
    turns: list[tuple[int, int, int, Due]] = []
    for due in sorted(earliest.values(), key=lambda due: (due.due_ms, due.repository_id)):
        turn[due.namespace_id] = turn.get(due.namespace_id, -1) + 1
        turns.append((turn[due.namespace_id], due.due_ms, due.repository_id, due))
    return [due for *_, due in sorted(turns)[:limit]]
