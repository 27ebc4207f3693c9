"""When a repository has garbage next, so that it is collected at that instant."""

from __future__ import annotations

from model.db.clock import NOW_MS_SQL
from model.db.prepared import run_one

_NEXT = f"""
SELECT (
    SELECT tag.lifetime_end_ms FROM tag
    WHERE tag.repository_id = repository.id
      AND tag.lifetime_end_ms > (SELECT {NOW_MS_SQL}) - owner.removed_tag_expiration_s * 1000::bigint
    ORDER BY tag.lifetime_end_ms LIMIT 1
) + owner.removed_tag_expiration_s * 1000::bigint AS due_ms
FROM repository JOIN "user" AS owner ON owner.id = repository.namespace_user_id
WHERE repository.id = %(repository)s
"""


def find_next_due_ms(repository_id: int) -> int | None:
    """The instant at which the next tag of the repository becomes unrecoverable; only reads.

    None where no tag has an end that is still to come.  A hint: the window may change until then.
    """
    found = run_one(_NEXT, {"repository": repository_id})
    return int(found.due_ms) if found and found.due_ms is not None else None
