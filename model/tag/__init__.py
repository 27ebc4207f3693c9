"""Tags: rows that give a manifest a name for a time.

Everything here works on rows inside the caller's transaction, under the repository's tag lock;
`model.registry` is where operations begin and end, and where events are written.
"""

from model.tag.lock import lock_id, lock_repository_tags, mark_own_changes
from model.tag.rows import Tag

__all__ = ["Tag", "lock_id", "lock_repository_tags", "mark_own_changes"]
