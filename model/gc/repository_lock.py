"""One repository, locked for one batch of its collection."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.clock import NOW_MS_SQL
from model.db.prepared import run_one
from model.db.tables import RepositoryState

_TRY_LOCK = "pg_try_advisory_xact_lock(hashtext('dredge.collect'), r.id)"


@dataclass(frozen=True)
class Scope:
    """What a batch needs to know about its repository, read in the batch's own transaction."""

    repository_id: int
    repository: str
    namespace_id: int
    namespace: str
    window_ms: int
    now_ms: int
    has_quota: bool
    has_uploads: bool
    has_failed: bool

    @property
    def full_name(self) -> str:
        """`namespace/repository`."""
        return f"{self.namespace}/{self.repository}"


_ENTER = f"""
SELECT r.id AS repository_id, r.name AS repository, n.id AS namespace_id, n.username AS namespace,
       n.removed_tag_expiration_s * 1000 AS window_ms, {NOW_MS_SQL} AS now_ms,
       EXISTS (SELECT FROM quotarepositorysize q WHERE q.repository_id = r.id)
           OR EXISTS (SELECT FROM quotanamespacesize q WHERE q.namespace_user_id = n.id) AS has_quota,
       EXISTS (SELECT FROM uploadedblob u WHERE u.repository_id = r.id)
           OR EXISTS (SELECT FROM blobupload b WHERE b.repository_id = r.id) AS has_uploads,
       EXISTS (SELECT FROM dredge_failure f WHERE f.repository_id = r.id) AS has_failed,
       n.enabled AND r.state <> {int(RepositoryState.MARKED_FOR_DELETION)} AS collectable,
       {_TRY_LOCK} AS locked
FROM repository r JOIN "user" n ON n.id = r.namespace_user_id
WHERE r.id = %(id)s
"""


def read_repository(repository_id: int) -> Scope | None:
    """The same facts without the lock, for those who only read; None where `lock_repository` would be."""
    row = run_one(_ENTER.replace(_TRY_LOCK, "true"), {"id": repository_id})
    return Scope(*row[:9]) if row is not None and row.collectable else None


def lock_repository(repository_id: int) -> Scope | None:
    """Lock the repository for this transaction, or return None and change nothing.

    None means that there is nothing to do here now: another collection holds the repository, it is
    gone or marked for deletion, or its namespace is disabled.  The lock is a transaction's, tried
    and never waited for, so none outlives a dead worker.
    """
    row = run_one(_ENTER, {"id": repository_id})
    if row is None or not row.locked or not row.collectable:
        return None
    return Scope(*row[:9])
