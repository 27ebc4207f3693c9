"""The one question that is asked before anything is removed: may it be?"""

from __future__ import annotations

from model.db.clock import NOW_MS_SQL
from model.db.prepared import run_one

_HOLD = f"""
SELECT h.reason, h.author, h.namespace_id, h.repository_id FROM dredge_hold h
WHERE (h.namespace_id, h.repository_id)
      IN ((0, 0), (%(namespace_id)s::int, 0), (0, %(repository_id)s::int))
  AND (h.until_ms IS NULL OR h.until_ms > {NOW_MS_SQL})
ORDER BY h.namespace_id + h.repository_id LIMIT 1
"""

# Blob candidate `c` left a repository that is on hold, or whose namespace is.
IS_HELD = f"""EXISTS (
    SELECT FROM dredge_hold h
    WHERE (h.until_ms IS NULL OR h.until_ms > {NOW_MS_SQL})
      AND ((h.namespace_id = 0 AND h.repository_id = c.repository_id)
           OR (h.repository_id = 0 AND h.namespace_id =
               (SELECT r.namespace_user_id FROM repository r WHERE r.id = c.repository_id)))
)"""


def find_hold(*, namespace_id: int = 0, repository_id: int = 0) -> str:
    """Why nothing may be removed here now, in words; empty where no hold is in force.

    Without arguments only a hold on the whole registry counts.  Ask in each batch, in the batch's
    own transaction: then a hold stops every process within one batch.
    """
    row = run_one(_HOLD, {"namespace_id": namespace_id, "repository_id": repository_id})
    if row is None:
        return ""
    where = "the repository" if row.repository_id else "the namespace" if row.namespace_id else "the registry"
    return f"{where} is on hold ({row.author}: {row.reason})"
