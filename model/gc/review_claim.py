"""Claims of blob candidates by a review: a committed row counts the attempt at a batch before the work.

A claim is a range of candidates' ids.  The transaction of the work deletes its row.  So a row that no
transaction has locked is of a batch that failed or whose process died: PostgreSQL has rolled the deletion
back.  The next claim divides such a range, down to a single blob, whose attempts a row of its own counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from model.controls.gate import IS_HELD
from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch_one, transaction
from model.db.prepared import run_one
from model.gc.poison import DIVIDE_BY, REVIEW_BATCH
from model.policy import Policy

END_ID = 2**63 - 1
# After that many divisions every limit is one.
MOST_DIVISIONS = 6

# A blob that left a repository on hold stays a candidate until the hold is lifted.
NOT_HELD = f"(%(ignores_holds)s OR NOT {IS_HELD})"

# A blob that makes batches fail is judged alone.
SET_ASIDE = "EXISTS (SELECT FROM dredge_poison p WHERE p.stage = 'review' AND p.key = c.blob_id::text)"

# Candidate `c` is in the range of another claim than the one that ends with `upto_id`.  The ranges are read
# once: for a look-up of each candidate the server may read the entries of all earlier claims each time.
IN_ANOTHER_CLAIM = f"""c.id <@ ANY (ARRAY(
    SELECT int8range(r.data::bigint, r.key::bigint, '(]') FROM dredge_poison r
    WHERE r.stage = '{REVIEW_BATCH}' AND r.key <> (%(upto_id)s)::text))"""

# SKIP LOCKED: another review is at work on that range.
_LEFT = f"""
SELECT data::bigint AS after_id, key::bigint AS upto_id, tries FROM dredge_poison
WHERE stage = '{REVIEW_BATCH}' ORDER BY key::bigint LIMIT 1 FOR UPDATE SKIP LOCKED
"""

_NEXT = f"""
SELECT count(*) AS found, max(id) AS upto_id, min(blob_id) AS blob_id FROM (
    SELECT c.id, c.blob_id FROM dredge_blob_candidate c
    WHERE c.id > %(after_id)s AND c.id <= %(upto_id)s AND {NOT_HELD}
      AND NOT {SET_ASIDE} AND NOT {IN_ANOTHER_CLAIM}
    ORDER BY c.id LIMIT %(limit)s) oldest
"""

_WRITE = f"""
INSERT INTO dredge_poison (stage, key, created_ms, due_ms, tries, last_error, data)
VALUES ('{REVIEW_BATCH}', (%(upto_id)s)::text, {NOW_MS_SQL}, {NOW_MS_SQL}, %(tries)s, '',
        (%(after_id)s)::text)
ON CONFLICT (stage, key) DO NOTHING
"""

_DELETE = f"DELETE FROM dredge_poison WHERE stage = '{REVIEW_BATCH}' AND key = %s"

_BEGIN = f"""
DELETE FROM dredge_poison WHERE stage = '{REVIEW_BATCH}' AND key = ANY(ARRAY(
    SELECT key FROM dredge_poison WHERE stage = '{REVIEW_BATCH}' AND key = %s FOR UPDATE SKIP LOCKED))
"""

_TAKE_BACK = f"UPDATE dredge_poison SET tries = tries - 1 WHERE stage = '{REVIEW_BATCH}' AND key = %s"


@dataclass(frozen=True)
class ReviewClaim:
    """Candidates after `after_id` up to `upto_id`; or, with `blob_id`, all candidates of one blob.

    `counted`: a row counts the attempt.  `divided`: an earlier batch with these candidates failed or died.
    `more`: others may be waiting.
    """

    after_id: int = 0
    upto_id: int = END_ID
    blob_id: int = 0
    counted: bool = False
    divided: bool = False
    more: bool = False


def claim_candidates(*, policy: Policy, limit: int, after_id: int) -> ReviewClaim | None:
    """Count an attempt at the next candidates, in a transaction of its own.  None if none is waiting.

    Candidates of a batch that failed come first: an eighth as many as that batch had.  Then the next ones
    after `after_id`.  Two claims at once are of different candidates.
    """
    with transaction():
        while left := fetch_one(_LEFT):
            if claim := _divide(left, policy, limit):
                return claim
        found = _find_next(policy, after_id, END_ID, limit)
        if not found.found:
            return None
        claim = ReviewClaim(after_id, found.upto_id, more=found.found == limit)
        return _count(claim, found.blob_id, tries=1, alone=limit == 1)


def _divide(left: Any, policy: Policy, limit: int) -> ReviewClaim | None:
    """Claim the first part of a range; the rest stays as it is.  None if the range has no candidates now."""
    part = max(1, limit // DIVIDE_BY ** min(left.tries, MOST_DIVISIONS))
    found = _find_next(policy, left.after_id, left.upto_id, part)
    execute(_DELETE, (str(left.upto_id),))
    if not found.found:
        return None
    if found.upto_id < left.upto_id:
        _write(found.upto_id, left.upto_id, tries=left.tries)
    claim = ReviewClaim(left.after_id, found.upto_id, divided=True, more=True)
    return _count(claim, found.blob_id, tries=left.tries + 1, alone=part == 1)


def _find_next(policy: Policy, after_id: int, upto_id: int, limit: int) -> Any:
    bounds = {"after_id": after_id, "upto_id": upto_id, "limit": limit}
    return run_one(_NEXT, {**bounds, "ignores_holds": policy.ignores_holds})


def _count(claim: ReviewClaim, blob_id: int, *, tries: int, alone: bool) -> ReviewClaim:
    """Count the attempt at a range.  The caller counts that at a single blob."""
    if alone:
        return replace(claim, blob_id=blob_id)
    _write(claim.after_id, claim.upto_id, tries=tries)
    return replace(claim, counted=True)


def _write(after_id: int, upto_id: int, *, tries: int) -> None:
    execute(_WRITE, {"after_id": after_id, "upto_id": upto_id, "tries": tries})


def begin_claim(claim: ReviewClaim) -> bool:
    """End the attempt together with the caller's transaction.  False if another review does this work.

    Call it first in the transaction of the work.
    """
    # Safe: if the transaction does not commit, the row is there again.
    return not claim.counted or execute(_BEGIN, (str(claim.upto_id),)) > 0


def take_back(claim: ReviewClaim) -> None:
    """Do not count an attempt that ended with an error that no candidate caused."""
    if claim.counted:
        execute(_TAKE_BACK, (str(claim.upto_id),))
