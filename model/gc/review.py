"""The review of blob candidates: unused blobs lose their rows, and a tombstone is written for each object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.controls.gate import find_stop
from model.db.arrays import BigIntArray, IntArray
from model.db.clock import now_ms
from model.db.fragments import PLACED
from model.db.prepared import run_one
from model.gc import certificate
from model.gc.review_claim import IN_ANOTHER_CLAIM, NOT_HELD, SET_ASIDE, ReviewClaim, begin_claim
from model.policy import Policy
from model.storage_paths import EMPTY_LAYER, MALFORMED_SQL, SOUND_PATH_SQL

# SKIP LOCKED on candidates: another review has them.  SKIP LOCKED on blobs: a push that links a blob has
# locked its row.  A skipped blob stays a candidate.
_TAKE = f"""
WITH taken AS MATERIALIZED (
    SELECT c.id, c.blob_id, c.repository_id FROM dredge_blob_candidate c
    WHERE c.id > %(after_id)s AND c.id <= %(upto_id)s AND {NOT_HELD}
      AND CASE WHEN %(blob_id)s > 0 THEN c.blob_id = %(blob_id)s
               ELSE NOT {SET_ASIDE} AND NOT {IN_ANOTHER_CLAIM} END
    ORDER BY c.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), dropped AS MATERIALIZED (
    SELECT DISTINCT ON (blob_id) blob_id, repository_id FROM taken ORDER BY blob_id, id DESC
), locked AS MATERIALIZED (
    SELECT b.id FROM imagestorage b WHERE b.id = ANY(ARRAY(SELECT blob_id FROM dropped))
    FOR UPDATE SKIP LOCKED
)
SELECT (SELECT count(*) FROM taken) AS taken,
       l.blobs AS locked, l.owners,
       ARRAY(SELECT t.id FROM taken t
             WHERE t.blob_id IN (SELECT id FROM locked)
                OR NOT EXISTS (SELECT FROM imagestorage b WHERE b.id = t.blob_id OFFSET 0)) AS judged
-- IS TRUE: the server hashes the locked blobs, instead of reading them again for each candidate.
FROM (SELECT array_agg(blob_id) AS blobs, array_agg(coalesce(repository_id, 0)) AS owners
      FROM dropped WHERE (blob_id IN (SELECT id FROM locked)) IS TRUE) l
"""

# Safe: the blob's row is locked FOR UPDATE, and this is a new statement.  It sees every reference that was
# committed before the lock.  A later reference waits for the row, and finds that it is gone.
# The candidates are deleted in the same transaction, so a crash leaves all of it or nothing.
# Every row of `dead` is carried along to where it is needed: the server cannot know how many there are, and
# before PostgreSQL 18 it joins two such lists by comparing each row with each.
_RETIRE = f"""
WITH dead AS MATERIALIZED (
    SELECT b.id, nullif(l.owner, 0) AS owner, b.cas_path, b.content_checksum AS digest,
           coalesce(b.image_size, 0) AS size,
           -- Where nothing was placed, nothing is freed: a download that never came, a push that died.
           CASE WHEN {PLACED} THEN coalesce(b.image_size, 0) ELSE 0 END AS freed,
           {SOUND_PATH_SQL} AS path, {MALFORMED_SQL} AS malformed
    FROM unnest(%(locked)s, %(owners)s) AS l (id, owner) JOIN imagestorage b ON b.id = l.id
    WHERE NOT EXISTS (SELECT FROM manifestblob r WHERE r.blob_id = b.id OFFSET 0)
      AND NOT EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = b.id OFFSET 0)
), settled AS (
    DELETE FROM dredge_blob_candidate c WHERE c.id = ANY(%(judged)s)
), unplaced AS (
    DELETE FROM imagestorageplacement p USING dead d WHERE p.storage_id = d.id
    RETURNING d.id, d.cas_path, d.digest, d.size, d.path, d.malformed,
        (SELECT l.name FROM imagestoragelocation l WHERE l.id = p.location_id) AS location
), unsigned AS (
    DELETE FROM imagestoragesignature s WHERE s.storage_id = ANY(ARRAY(SELECT id FROM dead)) RETURNING 1
), gone AS (
    DELETE FROM imagestorage b WHERE b.id = ANY(ARRAY(SELECT id FROM dead)) RETURNING 1
), unfinished AS (
    -- A push that died before it had its placement may have written the object.
    DELETE FROM dredge_push p USING dead d WHERE p.blob_id = d.id
    RETURNING d.id, d.cas_path, d.digest, d.size, d.path, d.malformed, p.location
), places AS MATERIALIZED (
    SELECT * FROM unplaced
    UNION ALL
    SELECT * FROM unfinished WHERE ((id, location) IN (SELECT id, location FROM unplaced)) IS NOT TRUE
), inherited AS (
    -- A row of the digest without placement keeps the object for now: it remembers where that lies.
    INSERT INTO dredge_push (blob_id, location, created_ms)
    SELECT o.id, p.location, %(now_ms)s FROM places p
    JOIN imagestorage o ON o.content_checksum = p.digest AND o.cas_path
    WHERE p.cas_path AND NOT p.malformed AND o.id NOT IN (SELECT id FROM dead)
      AND NOT EXISTS (SELECT FROM imagestorageplacement e WHERE e.storage_id = o.id OFFSET 0)
    ON CONFLICT (blob_id, location) DO NOTHING
), tombstones AS (
    INSERT INTO dredge_tombstone (digest, path, location, size, created_ms, due_ms)
    SELECT CASE WHEN p.cas_path THEN p.digest END, p.path, p.location, p.size,
           %(now_ms)s, %(now_ms)s + %(grace_ms)s
    FROM places p
    WHERE NOT p.malformed AND NOT (p.cas_path AND p.digest = %(empty_layer)s)
    RETURNING 1
), history AS (
    INSERT INTO dredge_collection (stage, repository_id, started_ms, finished_ms, blobs, bytes, certified)
    SELECT 'review', owner, %(now_ms)s, %(now_ms)s, count(*), sum(freed), true FROM dead GROUP BY owner
)
SELECT (SELECT count(*) FROM gone) AS blobs, d.bytes,
       (SELECT count(*) FROM tombstones) AS tombstones,
       (SELECT count(*) FROM gone) + (SELECT count(*) FROM unplaced)
           + (SELECT count(*) FROM unsigned) AS rows,
       d.ids, d.owners, d.freed, d.digests
FROM (SELECT coalesce(sum(freed), 0)::bigint AS bytes, array_agg(id) AS ids,
             array_agg(coalesce(owner, 0)) AS owners, array_agg(freed) AS freed,
             array_agg(coalesce(digest, '')) AS digests
      FROM dead) d
"""

_CERTIFY = f"""
WITH closing (ms) AS (SELECT %(now_ms)s), {certificate.RECORDED} SELECT count(*) AS written FROM certified
"""


@dataclass(frozen=True)
class Reviewed:
    """What one batch of the review decided.  `bytes`: sizes in the rows.  `stopped`: the hold, in words."""

    candidates: int = 0
    blobs: int = 0
    bytes: int = 0
    tombstones: int = 0
    rows: int = 0
    has_more: bool = False
    stopped: str = ""


# All candidates that no claim has.
EVERYTHING = ReviewClaim()


def review_batch(*, policy: Policy, limit: int, claim: ReviewClaim = EVERYTHING) -> Reviewed:
    """Judge at most `limit` blob candidates of a claim, oldest first, across all repositories.

    If no manifest and no push refers to a blob, its rows are deleted, and a tombstone is written for each
    place where its object is, or may be after a push that died.  If it is used, only the candidate is
    deleted.  If another transaction has locked it, it stays a candidate.  Blobs that are set aside are judged
    only by a claim of that blob.  Two reviews at once take different candidates.  Idempotent.
    """
    return _review_batch(policy, limit, claim)


def _review_batch(policy: Policy, limit: int, claim: ReviewClaim) -> Reviewed:
    with certificate.certified_transaction():
        if not begin_claim(claim):
            return Reviewed()
        moment = now_ms()
        if stopped := find_stop(policy, now_ms=moment):
            return Reviewed(stopped=stopped)
        taken = run_one(
            _TAKE,
            {
                "limit": limit,
                "after_id": claim.after_id,
                "upto_id": claim.upto_id,
                "blob_id": claim.blob_id,
                "ignores_holds": policy.ignores_holds,
            },
        )
        if not taken.judged:
            return Reviewed(has_more=taken.taken == limit)
        moment = now_ms()
        found = _retire(taken, policy, moment)
        if found.ids:
            _certify(found, policy, moment)
        return Reviewed(
            candidates=len(taken.judged),
            blobs=found.blobs,
            bytes=found.bytes,
            tombstones=found.tombstones,
            rows=found.rows,
            has_more=taken.taken == limit,
        )


def _retire(taken: Any, policy: Policy, moment: int) -> Any:
    """Delete the rows of the locked blobs that nothing refers to, and settle the candidates."""
    return run_one(
        _RETIRE,
        {
            "locked": IntArray(taken.locked or ()),
            "owners": IntArray(taken.owners or ()),
            "judged": BigIntArray(taken.judged),
            "now_ms": moment,
            "grace_ms": policy.erase_grace_ms,
            "empty_layer": EMPTY_LAYER,
        },
    )


def _certify(found: Any, policy: Policy, moment: int) -> None:
    """Write the certificate of dead blobs: for each, the repository that dropped the last reference."""
    sealed = certificate.seal(
        "review",
        list(zip(found.ids, found.owners, found.freed, strict=True)),
        found.digests,
        windows_ms={},
        policy=policy,
        started_ms=moment,
    )
    run_one(_CERTIFY, {"now_ms": moment, **sealed})
