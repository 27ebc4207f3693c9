"""Tombstones: objects to erase.  A claim fences them for one request, and then settles or postpones them.

The protocol; `claim` and `settle` are transactions of their own, and use no network:

    claim      one statement writes token, fence and lease; a new statement looks for references
    (request)  sent only before the time in the claim
    settle     only rows that still have the claim's token

A fence lasts until no request of its claim can be carried out any more.  Only a definite answer to that
request ends it early.  Until then no other claim takes the tombstone, and no push may write the object.

A claim that was never settled leaves its token in its rows; one whose request failed as a whole leaves it
there as a negative number.  The next claim counts that as a failure, and takes an eighth as many of such
rows, down to one.  So a tombstone that makes erasers die or fail is isolated and backs off; the others go.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model.db.clock import now_ms
from model.db.connection import BigIntArray, execute, fetch, fetch_one
from model.db.fragments import OBJECT_REFERRED
from model.gc.poison import DIVIDE_BY, NO_END

FIRST_RETRY_MS = 5_000
LAST_RETRY_MS = 6 * 3_600_000
# The lease is longer than the fence, so that an answer that comes after the fence still settles.
LEASE_BEYOND_FENCE_MS = 10_000


@dataclass(frozen=True)
class Tombstone:
    """One object at one location.

    `digest` is None if no other row can refer to the object.  `set_aside`: an earlier request may have
    moved it into the trash.
    """

    id: int
    digest: str | None
    path: str
    location: str
    size: int
    tries: int
    set_aside: bool = False


@dataclass(frozen=True)
class Claim:
    """Tombstones of one location that this process has claimed and fenced until `until_ms`.

    `more`: other tombstones of the location may be due.
    """

    token: int
    tombstones: tuple[Tombstone, ...]
    until_ms: int
    more: bool = False


# A loose index scan: one probe for each location, whatever the number of tombstones.
_LOCATIONS = """
WITH RECURSIVE found AS (
    (SELECT location FROM dredge_tombstone ORDER BY location LIMIT 1)
    UNION ALL
    SELECT (SELECT t.location FROM dredge_tombstone t WHERE t.location > f.location
            ORDER BY t.location LIMIT 1)
    FROM found f WHERE f.location IS NOT NULL
)
SELECT location FROM found WHERE location IS NOT NULL
"""

# How many claims of a tombstone failed, the last one included.
_FAILURES = "t.tries + CASE WHEN t.token > 0 THEN 1 ELSE 0 END"
_BACKOFF = f"least({LAST_RETRY_MS}, {FIRST_RETRY_MS} * power(2, least(t.tries, 20)))::bigint"

_FIRST = f"""
SELECT t.token IS NULL AS settled, {_FAILURES} AS failures FROM dredge_tombstone t
WHERE t.location = %(location)s AND t.due_ms <= %(now)s
ORDER BY t.due_ms, t.id LIMIT 1 FOR UPDATE SKIP LOCKED
"""

# `due_ms` is the lease: no eraser claims the row again before it, also after a crash.  It is later than the
# end of the fence.
# SKIP LOCKED: another eraser or a push has these rows.
# All rows of a claim have failed equally often: one that never failed is in no claim with one that did.
_CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT t.id, t.set_aside FROM dredge_tombstone t
    WHERE t.location = %(location)s AND t.due_ms <= %(now)s
      AND (t.token IS NULL) = %(settled)s AND (%(settled)s OR {_FAILURES} = %(failures)s)
    ORDER BY t.due_ms, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE dredge_tombstone t SET token = %(token)s, tries = {_FAILURES},
       last_error = CASE WHEN t.token > 0 THEN %(no_end)s ELSE t.last_error END,
       due_ms = CASE WHEN t.token IS NULL THEN %(lease)s ELSE greatest(%(lease)s, %(now)s + {_BACKOFF}) END,
       fenced_until_ms = %(until)s, set_aside = t.set_aside OR %(aside)s
FROM due WHERE t.id = due.id
RETURNING t.id, t.digest, t.path, t.location, t.size, t.tries, due.set_aside
"""

_UNSETTLED = """
SELECT FROM dredge_tombstone WHERE location = %(location)s AND due_ms <= %(now)s AND token IS NOT NULL LIMIT 1
"""

_REFERRED = f"""
SELECT s.id FROM unnest(%(ids)s, %(digests)s, %(locations)s) AS s (id, digest, location)
WHERE {OBJECT_REFERRED}
"""

# A definite answer of the store ends the fence; without an answer the fence stays to its end.
_POSTPONE = f"""
UPDATE dredge_tombstone t SET tries = t.tries + 1, last_error = e.error,
    token = CASE WHEN %(divide)s THEN -t.token END,
    fenced_until_ms = CASE WHEN %(fenced)s THEN t.fenced_until_ms END,
    due_ms = greatest(CASE WHEN %(fenced)s THEN t.fenced_until_ms END,
                      %(now)s + {_BACKOFF})
FROM unnest(%(ids)s, %(errors)s) AS e (id, error) WHERE t.id = e.id AND t.token = %(token)s
"""

_RELEASE = """
UPDATE dredge_tombstone t SET token = NULL, fenced_until_ms = NULL, due_ms = %(now)s,
       set_aside = r.set_aside
FROM unnest(%(ids)s, %(asides)s::boolean[]) AS r (id, set_aside) WHERE t.id = r.id AND t.token = %(token)s
"""


def find_tombstone_locations() -> list[str]:
    """Return the names of the locations that have tombstones, due or not; only reads."""
    return [row.location for row in fetch(_LOCATIONS)]


def claim_tombstones(location: str, *, limit: int, fence_ms: int, set_aside: bool) -> Claim:
    """Claim at most `limit` due tombstones of a location, longest due first, for one request.

    They are fenced for `fence_ms` from now.  `set_aside`: the request will move the objects into the trash.
    If the last claim of the first one was not settled or failed as a whole: fewer, that failed as often.
    Afterwards call `find_referred` in the same transaction.
    """
    moment, token = now_ms(), 1 + secrets.randbits(62)
    where = {"location": location, "now": moment}
    first = fetch_one(_FIRST, where)
    if first is None:
        return Claim(token, (), moment + fence_ms)
    if not first.settled:
        limit = max(1, limit // DIVIDE_BY**first.failures)
    rows = fetch(
        _CLAIM,
        {
            **where,
            "settled": first.settled,
            "failures": first.failures,
            "no_end": NO_END,
            "until": moment + fence_ms,
            "lease": moment + fence_ms + LEASE_BEYOND_FENCE_MS,
            "limit": limit,
            "token": token,
            "aside": set_aside,
        },
    )
    more = not first.settled or len(rows) == limit or fetch_one(_UNSETTLED, where) is not None
    return Claim(token, tuple(Tombstone(*row) for row in rows), moment + fence_ms, more)


def find_referred(tombstones: Iterable[Tombstone]) -> frozenset[int]:
    """Return the ids of the tombstones whose object is referenced by a blob row; only reads.

    Call it after the claim, in READ COMMITTED.  A push locks the tombstone before it looks at the fence and
    commits its row.  So if this statement does not see the push's row, the push will see the fence.
    """
    named = [tombstone for tombstone in tombstones if tombstone.digest]
    if not named:
        return frozenset()
    rows = fetch(
        _REFERRED,
        {
            "ids": BigIntArray(tombstone.id for tombstone in named),
            "digests": [tombstone.digest for tombstone in named],
            "locations": [tombstone.location for tombstone in named],
        },
    )
    return frozenset(row.id for row in rows)


def settle_tombstones(token: int, ids: Sequence[int]) -> frozenset[int]:
    """Delete tombstones of objects that are gone, set aside or needed again.  Returns ids with our token."""
    # Safe: the rows have our token, so no other claim works on them.  The caller either had a definite answer
    # from the store, or saw a row that refers to the digest.
    rows = fetch(
        "DELETE FROM dredge_tombstone WHERE id = ANY(%s) AND token = %s RETURNING id",
        (BigIntArray(ids), token),
    )
    return frozenset(row.id for row in rows)


def postpone_tombstones(
    token: int, errors: Mapping[int, str], *, unanswered: bool = False, divide: bool = False
) -> None:
    """Note errors and the next tries: 5 seconds later; each failure doubles that time, up to 6 hours.

    `unanswered`: it is unknown whether the request was or will be carried out.  So the fence stays to its
    end, and the next try comes after it.  `divide`: they failed as one request, perhaps because of one.
    """
    execute(
        _POSTPONE,
        {
            "token": token,
            "ids": BigIntArray(errors),
            "errors": [error[:500] for error in errors.values()],
            "now": now_ms(),
            "fenced": unanswered,
            "divide": divide,
        },
    )


def release_tombstones(token: int, tombstones: Iterable[Tombstone]) -> None:
    """Give back claimed tombstones whose request was never sent: due at once, without a fence, as before."""
    given = list(tombstones)
    execute(
        _RELEASE,
        {
            "token": token,
            "ids": BigIntArray(tombstone.id for tombstone in given),
            "asides": [tombstone.set_aside for tombstone in given],
            "now": now_ms(),
        },
    )
