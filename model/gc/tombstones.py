"""Tombstones: objects to erase.  A claim fences them for one request, and then settles or postpones them.

The protocol; `claim` and `settle` are transactions of their own, and use no network:

    claim      one statement writes token, fence and lease; a new statement looks for references
    (request)  sent only before the time in the claim
    settle     only rows that still have the claim's token

A fence lasts until no request of its claim can be carried out any more.  Only a definite answer to that
request ends it early.  Until then no other claim takes the tombstone, and no push may write the object.

A claim that died, or whose request failed as a whole, is divided (`model.gc.division`).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model.db.arrays import BigIntArray
from model.db.backoff import shortened
from model.db.clock import now_ms
from model.db.connection import execute, fetch
from model.db.fragments import OBJECT_REFERRED
from model.db.prepared import run
from model.db.queue_start import FRONT, OF_DUE, OF_IDS, STARTS, Key, start_params
from model.db.text_array import TextArray
from model.gc.division import ALIKE, BACKOFF, CLAIMED, FAILED, LEASE, Division

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

    `more`: other tombstones of the location may be due.  `first`: the first that was due and not locked, or
    the time of the claim if there was none.
    """

    token: int
    tombstones: tuple[Tombstone, ...]
    until_ms: int
    first: Key
    more: bool = False


_WITH_DUE = f"""
SELECT s.name FROM {STARTS}
WHERE EXISTS (SELECT FROM dredge_tombstone t WHERE t.location = s.name AND t.due_ms <= %(now_ms)s
              AND (t.due_ms, t.id) >= (s.from_ms, s.from_id) OFFSET 0)
"""

# A loose index scan: one probe for each location, whatever the number of tombstones.  Beside an old snapshot
# it also steps over the entries of those that are gone.
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

_DIVISION = Division("dredge_tombstone", "due_ms")

# `due_ms` is the lease: no eraser claims the row again before it, also after a crash.  It is later than the
# end of the fence.
# SKIP LOCKED: another eraser or a push has these rows.
_CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT t.id, t.set_aside FROM dredge_tombstone t
    WHERE t.location = %(location)s AND t.due_ms <= %(now)s
      AND (t.due_ms, t.id) >= (%(from_ms)s, %(from_id)s) AND {ALIKE}
    ORDER BY t.due_ms, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE dredge_tombstone t SET {CLAIMED}, due_ms = {LEASE},
       fenced_until_ms = %(until)s, set_aside = t.set_aside OR %(aside)s
FROM due WHERE t.id = due.id AND t.id {OF_DUE}
RETURNING t.id, t.digest, t.path, t.location, t.size, t.tries, due.set_aside
"""

_REFERRED = f"""
SELECT s.id FROM unnest(%(ids)s, %(digests)s, %(locations)s) AS s (id, digest, location)
WHERE {OBJECT_REFERRED}
"""

# A definite answer of the store ends the fence; without an answer the fence stays to its end.
_POSTPONE = f"""
UPDATE dredge_tombstone t SET {FAILED},
    fenced_until_ms = CASE WHEN %(fenced)s THEN t.fenced_until_ms END,
    due_ms = greatest(CASE WHEN %(fenced)s THEN t.fenced_until_ms END,
                      %(now)s + {BACKOFF})
FROM unnest(%(ids)s, %(errors)s) AS e (id, error)
WHERE t.id = e.id AND t.id {OF_IDS} AND t.token = %(token)s
"""

_RELEASE = f"""
UPDATE dredge_tombstone t SET token = NULL, fenced_until_ms = NULL, due_ms = %(now)s,
       set_aside = r.set_aside
FROM unnest(%(ids)s, %(asides)s::boolean[]) AS r (id, set_aside)
WHERE t.id = r.id AND t.id {OF_IDS} AND t.token = %(token)s
"""


def find_tombstone_locations() -> list[str]:
    """Return the names of the locations that have tombstones, due or not; only reads."""
    return [row.location for row in fetch(_LOCATIONS)]


def find_locations_with_due(starts: Mapping[str, Key], *, now_ms: int) -> list[str]:
    """Return the locations, of those given, at which a tombstone is due from the start on; only reads."""
    return [row.name for row in run(_WITH_DUE, {**start_params(starts), "now_ms": now_ms})]


def claim_tombstones(
    location: str, *, limit: int, fence_ms: int, lease_ms: int, set_aside: bool, start: Key = FRONT
) -> Claim:
    """Claim at most `limit` due tombstones of a location, longest due first, for one request.

    They are fenced for `fence_ms` from now, and belong to this claim for `lease_ms` (at least the fence) and
    10 seconds more.  `set_aside`: the request will move the objects into the trash.
    If the last claim of the first one was not settled or failed as a whole: fewer, that failed as often.
    Looks only at `start` and later ones (`model.db.queue_start`).
    Afterwards call `find_referred` in the same transaction.
    """
    moment, token = now_ms(), 1 + secrets.randbits(62)
    where = {"location": location, "upto": moment}
    portion = _DIVISION.choose(where, start=start, limit=limit)
    if portion is None:
        return Claim(token, (), moment + fence_ms, first=max(start, (moment, 0)))
    rows = fetch(
        _CLAIM,
        {
            **portion.params,
            "location": location,
            "now": moment,
            "until": moment + fence_ms,
            "lease": moment + max(fence_ms, lease_ms) + LEASE_BEYOND_FENCE_MS,
            "token": token,
            "aside": set_aside,
        },
    )
    more = _DIVISION.has_more(where, portion, len(rows))
    claimed = tuple(Tombstone(*row) for row in rows)
    return Claim(token, claimed, moment + fence_ms, first=portion.first, more=more)


def find_referred(tombstones: Iterable[Tombstone]) -> frozenset[int]:
    """Return the ids of the tombstones whose object is referenced by a blob row; only reads.

    Call it after the claim, in READ COMMITTED.  A push locks the tombstone before it looks at the fence and
    commits its row.  So if this statement does not see the push's row, the push will see the fence.
    """
    named = [tombstone for tombstone in tombstones if tombstone.digest]
    if not named:
        return frozenset()
    rows = run(
        _REFERRED,
        {
            "ids": BigIntArray(tombstone.id for tombstone in named),
            "digests": TextArray(tombstone.digest for tombstone in named),
            "locations": TextArray(tombstone.location for tombstone in named),
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
            "errors": [shortened(error) for error in errors.values()],
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
