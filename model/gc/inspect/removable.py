"""Which namespaces could free the most: an estimate from the tags that are past their window.  Only reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.db.arrays import IntArray
from model.db.connection import fetch
from model.policy import Policy

# The estimate reads at most so many of the oldest ended tags of each repository.
TAGS = 100

_REMOVABLE = """
SELECT n.username AS namespace, count(*) AS repositories, sum(g.manifests)::bigint AS manifests,
       sum(g.bytes)::bigint AS bytes
FROM unnest(%(ids)s) AS w (id) JOIN repository r ON r.id = w.id JOIN "user" n ON n.id = r.namespace_user_id
CROSS JOIN LATERAL (
    SELECT count(*) AS manifests, coalesce(sum(m.layers_compressed_size), 0) AS bytes FROM (
        SELECT DISTINCT t.manifest_id FROM (
            SELECT t.manifest_id FROM tag t
            WHERE t.repository_id = r.id
              AND t.lifetime_end_ms <= %(now_ms)s - n.removed_tag_expiration_s * 1000
              AND NOT (t.immutable AND %(protects_immutable)s)
            ORDER BY t.lifetime_end_ms LIMIT %(tags)s) t) t
    JOIN manifest m ON m.id = t.manifest_id) g
GROUP BY 1 ORDER BY 4 DESC, 3 DESC, 1 LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Removable:
    """What a namespace could free: its repositories with garbage, and what their oldest ended tags point at.

    `bytes` are those of layers; a layer is counted for each manifest, and a manifest that another tag keeps
    is counted, too.
    """

    namespace: str
    repositories: int
    manifests: int
    bytes: int


def read_removable(
    repository_ids: Sequence[int], *, policy: Policy, now_ms: int, limit: int
) -> list[Removable]:
    """Return the namespaces of these due repositories that could free most bytes, at most `limit`.

    Reads at most 100 tags of each repository.
    """
    params = {
        "ids": IntArray(repository_ids),
        "now_ms": now_ms,
        "protects_immutable": policy.protects_immutable,
        "tags": TAGS,
        "limit": limit,
    }
    return [Removable(*row) for row in fetch(_REMOVABLE, params)]
