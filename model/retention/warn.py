"""Warnings before a tag ends, by its own expiry or by a rule: one event for each end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from model.db.arrays import BigIntArray, IntArray
from model.db.connection import execute, fetch, transaction
from model.events import record as events
from model.repository import Repository
from model.retention.rule import Rule, TagFacts
from model.tag.cosign import PATTERN

EXPIRY = "expiry"

_EXPIRING = """
SELECT t.id AS tag_id, t.lifetime_end_ms AS end_ms, t.name, m.digest FROM tag t
JOIN manifest m ON m.id = t.manifest_id
WHERE t.repository_id = %(repository_id)s AND t.lifetime_end_ms > %(now_ms)s
  AND t.lifetime_end_ms <= %(until_ms)s AND NOT t.hidden AND t.name !~ %(cosign)s
"""

_ANNOUNCE = """
INSERT INTO dredge_expiry_warning (tag_id, end_ms)
SELECT * FROM unnest(%(tags)s, %(ends)s) AS w (tag_id, end_ms)
ON CONFLICT DO NOTHING RETURNING tag_id, end_ms
"""

_FORGET = """
DELETE FROM dredge_expiry_warning w WHERE NOT EXISTS (SELECT FROM tag t WHERE t.id = w.tag_id)
"""


class ExpiryWarning(NamedTuple):
    """A tag that will end; `end_ms` is 0 if a rule will end it."""

    tag_id: int
    end_ms: int
    name: str
    digest: str
    rule: str


def announce(
    where: Repository, by_rules: Sequence[tuple[TagFacts, Rule]], *, now_ms: int, within_ms: int
) -> int:
    """Record `registry.tag.expiring` for each tag that ends within `within_ms`.  Returns how many are new.

    `by_rules` are the tags that rules would end in that time.  A tag is announced once for each expiry of its
    own, and once for all rules.  Idempotent.
    """
    until_ms = now_ms + within_ms
    params = {"repository_id": where.id, "now_ms": now_ms, "until_ms": until_ms}
    rows = fetch(_EXPIRING, {**params, "cosign": PATTERN})
    found = [ExpiryWarning._make((*row, EXPIRY)) for row in rows]
    found += [
        ExpiryWarning(tag.id, 0, tag.name, tag.digest, rule.name) for tag, rule in by_rules if not tag.hidden
    ]
    if not found:
        return 0
    with transaction():
        new = _remember(found)
        new_events = [_event(where, warning, until_ms) for warning in found if warning[:2] in new]
        if new_events:
            events.record_all(new_events, now_ms=now_ms)
    return len(new_events)


def forget_warnings() -> int:
    """Delete the warnings of tags that no longer exist.  Returns how many.  Idempotent."""
    return execute(_FORGET)


def _remember(found: Sequence[ExpiryWarning]) -> set[tuple[int, int]]:
    params = {
        "tags": IntArray(warning.tag_id for warning in found),
        "ends": BigIntArray(warning.end_ms for warning in found),
    }
    return {(row.tag_id, row.end_ms) for row in fetch(_ANNOUNCE, params)}


def _event(where: Repository, warning: ExpiryWarning, until_ms: int) -> events.NewEvent:
    data = {
        "namespace": where.namespace,
        "repository": where.name,
        "repository_id": where.id,
        "tag": warning.name,
        "digest": warning.digest,
        "expires_by_ms": warning.end_ms or until_ms,
        "rule": warning.rule,
    }
    return events.NewEvent(events.TAG_EXPIRING, f"{where.path}:{warning.name}", data, where.id)
