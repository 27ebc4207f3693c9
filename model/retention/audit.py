"""The audit of retention: a row for each tag that a rule ended, written in the transaction that ends it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model.db.connection import execute, fetch
from model.events import record as events
from model.registry.operation import Operation
from model.retention.rule import Rule
from model.tag import Tag

_ADD = """
INSERT INTO dredge_ended_tag (repository_id, tag, digest, rule, author, ended_ms, restorable_until_ms)
VALUES (%(repository_id)s, %(tag)s, %(digest)s, %(rule)s, %(author)s, %(ended_ms)s, %(until_ms)s)
"""

_LIST = """
SELECT e.id, e.repository_id, n.username || '/' || r.name AS repository, e.tag, e.digest, e.rule, e.author,
       e.ended_ms, e.restorable_until_ms
FROM dredge_ended_tag e LEFT JOIN repository r ON r.id = e.repository_id
LEFT JOIN "user" n ON n.id = r.namespace_user_id
WHERE %(repository_id)s = 0 OR e.repository_id = %(repository_id)s
ORDER BY e.id DESC LIMIT %(limit)s
"""

_PRUNE = """
DELETE FROM dredge_ended_tag WHERE id = ANY(ARRAY(
    SELECT id FROM dredge_ended_tag WHERE ended_ms < %(before_ms)s ORDER BY ended_ms LIMIT %(limit)s))
"""


@dataclass(frozen=True)
class EndedTag:
    """One row of the audit; `repository` is None if it no longer exists."""

    id: int
    repository_id: int
    repository: str | None
    tag: str
    digest: str
    rule: str
    author: str
    ended_ms: int
    restorable_until_ms: int


@dataclass(frozen=True)
class AuditedOperation(Operation):
    """An operation that writes each ended tag to the audit, beside its event.

    `rules` has the rule of each tag; a signature that ends with its image has none.
    """

    rules: Mapping[int, Rule] = field(default_factory=dict)

    def record(self, type: str, tag: Tag, **more: object) -> None:
        """Write the event and the audit of one tag, in this transaction."""
        super().record(type, tag, **more)
        if type != events.TAG_DELETED or tag.end_ms is None:
            return
        rule = self.rules.get(tag.id)
        execute(
            _ADD,
            {
                "repository_id": tag.repository_id,
                "tag": tag.name,
                "digest": tag.digest,
                "rule": rule.name if rule else "goes with its subject",
                "author": rule.author if rule else "retention",
                "ended_ms": tag.end_ms,
                "until_ms": min(tag.end_ms + self.repository.window_ms, 2**63 - 1),
            },
        )


def list_ended_tags(repository_id: int = 0, *, limit: int) -> list[EndedTag]:
    """Return at most `limit` tags that retention ended (in one repository), latest first; only reads."""
    return [EndedTag(*row) for row in fetch(_LIST, {"repository_id": repository_id, "limit": limit})]


def prune_audit(*, before_ms: int, limit: int) -> int:
    """Delete at most `limit` rows of tags that ended before `before_ms`.  Returns how many.  Idempotent."""
    return execute(_PRUNE, {"before_ms": before_ms, "limit": limit})
