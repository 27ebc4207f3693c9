"""The blobs that only some manifests refer to, which a collection then deletes.  Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from model.db.arrays import IntArray
from model.db.prepared import run, run_one

_UNUSED = """
NOT EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id OFFSET 0)
AND EXISTS (SELECT FROM imagestorageplacement p WHERE p.storage_id = b.id OFFSET 0)
"""

# Most blobs are left at the first reference of a living manifest, and nothing else is read of them; nor is
# anything read of those that several of the repositories lose.  The dead manifests are hashed once.
_FREED = f"""
WITH dead AS MATERIALIZED (
    SELECT * FROM unnest(%(dead)s, %(repositories)s) AS d (id, repository_id)
), lost AS MATERIALIZED (
    SELECT b.blob_id AS id, min(d.repository_id) AS repository_id, max(d.repository_id) AS last
    FROM dead d JOIN manifestblob b ON b.manifest_id = d.id GROUP BY b.blob_id
), held AS MATERIALIZED (
    SELECT l.id, l.repository_id,
           CASE WHEN l.repository_id <> l.last THEN l.last ELSE (
               SELECT r.repository_id FROM manifestblob r
               WHERE r.blob_id = l.id AND (r.manifest_id IN (SELECT unnest(%(dead)s))) IS NOT TRUE
               LIMIT 1) END AS holder
    FROM lost l
)
SELECT h.repository_id, count(b.id) AS blobs, coalesce(sum(b.image_size), 0)::bigint AS bytes,
       array_agg(h.id) FILTER (WHERE h.holder <> h.repository_id) AS shared
FROM held h LEFT JOIN LATERAL (
    SELECT b.id, b.image_size FROM imagestorage b
    WHERE h.holder IS NULL AND b.id = h.id AND {_UNUSED} OFFSET 0
) b ON true
GROUP BY h.repository_id
"""

_FREED_TOGETHER = f"""
SELECT count(*) AS blobs, coalesce(sum(b.image_size), 0)::bigint AS bytes
FROM imagestorage b
WHERE b.id = ANY(%(blobs)s)
  AND NOT EXISTS (SELECT FROM manifestblob r
                  WHERE r.blob_id = b.id
                    AND (r.manifest_id IN (SELECT unnest(%(dead)s))) IS NOT TRUE OFFSET 0)
  AND {_UNUSED}
"""


class Freed(NamedTuple):
    """How many blobs, of how many bytes, only the dead manifests of one repository refer to.

    `shared` are blobs that they lose, and that a manifest of another repository refers to.
    """

    blobs: int = 0
    bytes: int = 0
    shared: tuple[int, ...] = ()


def read_freed(dead: Mapping[int, int]) -> dict[int, Freed]:
    """Return, for each repository, what its dead manifests alone would free.

    `dead`: a manifest's id to that of its repository.  A blob that several repositories lose is shared for
    one of them.
    """
    if not dead:
        return {}
    rows = run(_FREED, {"dead": IntArray(dead), "repositories": IntArray(dead.values())})
    return {row.repository_id: Freed(row.blobs, row.bytes, tuple(row.shared or ())) for row in rows}


def read_freed_together(dead: Iterable[int], blobs: Iterable[int]) -> Freed:
    """Return how many of these blobs, and of how many bytes, only these manifests refer to."""
    wanted = set(blobs)
    if not wanted:
        return Freed()
    row = run_one(_FREED_TOGETHER, {"dead": IntArray(dead), "blobs": IntArray(wanted)})
    return Freed(row.blobs, row.bytes)
