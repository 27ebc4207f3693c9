"""The lock of repositories for one batch of their collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.db.arrays import IntArray
from model.db.clock import NOW_MS_SQL
from model.db.prepared import run, run_one
from model.db.tables import RepositoryState


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

    @property
    def full_name(self) -> str:
        """`namespace/repository`."""
        return f"{self.namespace}/{self.repository}"


_FACTS = f"""
       r.id AS repository_id, r.name AS repository, n.id AS namespace_id, n.username AS namespace,
       n.removed_tag_expiration_s * 1000 AS window_ms, (SELECT {NOW_MS_SQL}) AS now_ms,
       EXISTS (SELECT FROM quotarepositorysize q WHERE q.repository_id = r.id)
           OR EXISTS (SELECT FROM quotanamespacesize q WHERE q.namespace_user_id = n.id) AS has_quota,
       EXISTS (SELECT FROM uploadedblob u WHERE u.repository_id = r.id)
           OR EXISTS (SELECT FROM blobupload b WHERE b.repository_id = r.id) AS has_uploads,
       n.enabled AND r.state <> {int(RepositoryState.MARKED_FOR_DELETION)} AS collectable
"""

_READ = f"""
SELECT {_FACTS} FROM repository r JOIN "user" n ON n.id = r.namespace_user_id WHERE r.id = %(id)s
"""

# A batch holds locks on the manifests that it removes.  So it waits only this long for a row that another
# transaction has locked (a user who logs in, a quota); then it is rolled back and tried again later.
_LOCK = f"""
SELECT {_FACTS}, (SELECT set_config('lock_timeout', '1s', true)) AS waits_at_most,
       pg_try_advisory_xact_lock(hashtext('dredge.collect'), r.id) AS locked
FROM unnest(%(ids)s) AS wanted (id) JOIN repository r ON r.id = wanted.id
JOIN "user" n ON n.id = r.namespace_user_id
"""


def read_repository(repository_id: int) -> Scope | None:
    """Read the same facts without the lock, to read only; None if the repository may not be collected."""
    row = run_one(_READ, {"id": repository_id})
    return Scope(*row[:8]) if row is not None and row.collectable else None


def lock_repositories(repository_ids: Sequence[int]) -> tuple[Scope, ...]:
    """Lock those of the repositories that may be collected now, until the transaction ends.

    Leaves out a repository that another collection holds, that is gone or marked for deletion, or whose
    namespace is disabled.  Tries the locks and does not wait, so two batches cannot deadlock.  PostgreSQL
    releases the locks with the transaction, so a dead worker leaves none.  Returns them in the order given.
    """
    places = {id: place for place, id in enumerate(repository_ids)}
    rows = run(_LOCK, {"ids": IntArray(places)})
    scopes = [Scope(*row[:8]) for row in rows if row.locked and row.collectable]
    return tuple(sorted(scopes, key=lambda scope: places[scope.repository_id]))
