"""The one question that is asked before anything is removed: may it be?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.db.clock import NOW_MS_SQL
from model.db.connection import IntArray
from model.db.prepared import run

_HOLDS = f"""
SELECT t.repository_id AS held, h.reason, h.author, h.namespace_id, h.repository_id
FROM unnest(%(repositories)s, %(namespaces)s) AS t (repository_id, namespace_id)
CROSS JOIN LATERAL (
    SELECT h.* FROM dredge_hold h
    WHERE (h.namespace_id, h.repository_id) IN ((0, 0), (t.namespace_id, 0), (0, t.repository_id))
      AND (h.until_ms IS NULL OR h.until_ms > {NOW_MS_SQL})
    ORDER BY h.namespace_id + h.repository_id LIMIT 1) h
"""

# Blob candidate `c` left a repository that is on hold, or whose namespace is.
IS_HELD = f"""EXISTS (
    SELECT FROM dredge_hold h
    WHERE (h.until_ms IS NULL OR h.until_ms > {NOW_MS_SQL})
      AND ((h.namespace_id = 0 AND h.repository_id = c.repository_id)
           OR (h.repository_id = 0 AND h.namespace_id =
               (SELECT r.namespace_user_id FROM repository r WHERE r.id = c.repository_id)))
)"""


def find_holds(repositories: Mapping[int, int]) -> dict[int, str]:
    """Why nothing may be removed in these repositories (id: its namespace's id) now, in words.

    A repository without a hold in force is left out.  Ask in each batch, in the batch's own transaction:
    then a hold stops every process within one batch.
    """
    params = {"repositories": IntArray(repositories), "namespaces": IntArray(repositories.values())}
    return {row.held: _in_words(row) for row in run(_HOLDS, params)}


def find_hold() -> str:
    """The same for the whole registry: empty where no hold on all of it is in force."""
    return find_holds({0: 0}).get(0, "")


def _in_words(row: Any) -> str:
    where = "the repository" if row.repository_id else "the namespace" if row.namespace_id else "the registry"
    return f"{where} is on hold ({row.author}: {row.reason})"
