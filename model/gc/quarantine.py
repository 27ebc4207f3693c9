"""Objects in the trash: put back if a row refers to them, purged when their quarantine is over.

After an object was put back, a request that was never answered may move it again, to the same name in the
trash.  So the row with this name lives until the end of the quarantine in every case.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.db.arrays import BigIntArray
from model.db.backoff import backoff_ms, shortened
from model.db.clock import now_ms
from model.db.connection import execute, fetch
from model.db.fragments import OBJECT_REFERRED
from model.db.queue_start import FRONT, HURRIED_MS, OF_DUE, OF_IDS, Key
from model.gc.division import ALIKE, CLAIMED, FAILED, FIRST_RETRY_MS, LAST_RETRY_MS, LEASE, Division, Portion
from model.gc.tombstones import Tombstone

FIRST_LOOK_MS = 60_000
# How often an object that was put back is looked at, while a late request may move it again.
KEPT_LOOK_MS = 60_000
# Short, because clients may wait for an object that could not be put back.
LAST_LOOK_MS = 300_000


@dataclass(frozen=True)
class Quarantined:
    """An object in the trash.  `referred`: a blob row refers to it.  `over`: its quarantine is over.

    `unanswered`: a late request may move it again.  `returned`: it was put back.
    """

    id: int
    digest: str | None
    path: str
    location: str
    trash: str
    version: str
    size: int
    purge_ms: int
    unanswered: bool
    returned: bool
    referred: bool
    over: bool


@dataclass(frozen=True)
class QuarantineClaim:
    """Rows that this process has claimed, until their lease ends.  `more`: others may be due.

    `first`: the first that was due and not locked; None if the claim was not of the queue from its start on.
    """

    token: int
    rows: tuple[Quarantined, ...]
    more: bool = False
    first: Key | None = None


# Also written if another claim has the tombstone: the object was moved in any case.  If a row with that id
# exists, it is from an earlier try of the same move, and the object is looked at again at once.
_INSERT = f"""
INSERT INTO dredge_quarantine AS q
    (id, digest, path, location, trash, version, size, set_aside_ms, look_ms, purge_ms, unanswered)
SELECT n.id, n.digest, n.path, %(location)s, n.trash, n.version, n.size, %(now)s, n.look, %(purge)s, n.late
FROM unnest(%(ids)s, %(digests)s::text[], %(paths)s::text[], %(trashes)s::text[], %(versions)s::text[],
            %(sizes)s, %(looks)s, %(lates)s::boolean[])
    AS n (id, digest, path, trash, version, size, look, late)
ON CONFLICT (id) DO UPDATE SET look_ms = {HURRIED_MS}, unanswered = true,
    purge_ms = greatest(q.purge_ms, excluded.purge_ms),
    version = CASE WHEN excluded.version = '' THEN q.version ELSE excluded.version END
"""

_DIVISION = Division("dredge_quarantine", "look_ms")

_CLAIM = f"""
WITH due AS MATERIALIZED (
    SELECT t.id FROM dredge_quarantine t
    WHERE t.location = %(location)s AND t.look_ms <= %(upto)s
      AND (t.look_ms, t.id) >= (%(from_ms)s, %(from_id)s) AND {ALIKE}
    ORDER BY t.look_ms, t.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE dredge_quarantine t SET {CLAIMED}, look_ms = {LEASE}
FROM due WHERE t.id = due.id AND t.id {OF_DUE} RETURNING t.id
"""

# Also claims leased rows: if two processes put one object back at once, the result is the same.
_CLAIM_DIGEST = """
UPDATE dredge_quarantine q SET token = %(token)s, look_ms = %(until)s
WHERE q.digest = %(digest)s AND q.location = %(location)s AND q.put_back_ms IS NULL RETURNING q.id
"""

_READ = f"""
SELECT s.id, s.digest, s.path, s.location, s.trash, s.version, s.size, s.purge_ms,
       s.unanswered, s.put_back_ms IS NOT NULL AS returned, {OBJECT_REFERRED} AS referred,
       s.purge_ms <= %(now)s AS over
FROM dredge_quarantine s WHERE s.id = ANY(%(ids)s) ORDER BY s.id
"""

# If no late request can move the object again, the row is due at once: its copy in the trash is purged.
_KEEP = """
UPDATE dredge_quarantine q SET token = NULL, tries = 0, last_error = NULL,
    put_back_ms = coalesce(q.put_back_ms, %(now)s),
    look_ms = CASE WHEN q.unanswered THEN least(q.purge_ms, %(now)s + %(every)s) ELSE %(now)s END
WHERE q.id = ANY(%(ids)s) AND q.token = %(token)s
"""

_RELEASE = "UPDATE dredge_quarantine SET token = NULL WHERE id = ANY(%s) AND token = %s"
_POSTPONE = f"""
UPDATE dredge_quarantine t SET {FAILED},
    look_ms = %(now)s + {backoff_ms("t.tries", "%(first)s", "%(last)s")}
FROM unnest(%(ids)s, %(errors)s) AS e (id, error)
WHERE t.id = e.id AND t.id {OF_IDS} AND t.token = %(token)s
"""


def add_quarantined(
    location: str,
    moved: Sequence[tuple[Tombstone, str, str]],
    *,
    quarantine_ms: int,
    at_once: frozenset[int] = frozenset(),
) -> None:
    """Write a row for each moved object (tombstone, trash, version) until it is put back or purged.

    Call it in the transaction that settles their tombstones, when no request for them is fenced.  Rows may
    refer to the objects in `at_once` again; these are looked at in the next turn.  Idempotent.
    """
    moment = now_ms()
    look = min(moment + FIRST_LOOK_MS, moment + quarantine_ms)
    execute(
        _INSERT,
        {
            "location": location,
            "now": moment,
            "purge": moment + quarantine_ms,
            "ids": BigIntArray(tombstone.id for tombstone, _, _ in moved),
            "digests": [tombstone.digest for tombstone, _, _ in moved],
            "paths": [tombstone.path for tombstone, _, _ in moved],
            "trashes": [trash for _, trash, _ in moved],
            "versions": [version for _, _, version in moved],
            "sizes": BigIntArray(tombstone.size for tombstone, _, _ in moved),
            "looks": BigIntArray(
                HURRIED_MS if tombstone.id in at_once else look for tombstone, _, _ in moved
            ),
            "lates": [tombstone.set_aside or tombstone.id in at_once for tombstone, _, _ in moved],
        },
    )


def claim_quarantined(location: str, *, limit: int, lease_ms: int, start: Key = FRONT) -> QuarantineClaim:
    """Claim at most `limit` objects of a location to put back or to purge, for `lease_ms`.

    First those that clients may wait for, then those from `start` on (`model.db.queue_start`).
    Call it in a transaction.  A new statement looks for references after the rows are locked.  A push that
    commits its row later waits for this transaction, and then makes the object's row due again.
    """
    moment, token = now_ms(), 1 + secrets.randbits(62)
    hurried, queued = ({"location": location, "upto": upto} for upto in (HURRIED_MS, moment))
    if portion := _DIVISION.choose(hurried, start=FRONT, limit=limit):
        rows = _claim(location, portion, token, moment, lease_ms)
        others = _DIVISION.choose(queued, start=start, limit=1) is not None
        return QuarantineClaim(token, rows, more=others or _DIVISION.has_more(hurried, portion, len(rows)))
    if portion := _DIVISION.choose(queued, start=start, limit=limit):
        rows = _claim(location, portion, token, moment, lease_ms, upto_ms=moment)
        more = _DIVISION.has_more(queued, portion, len(rows))
        return QuarantineClaim(token, rows, more, first=portion.first)
    return QuarantineClaim(token, (), first=max(start, (moment, 0)))


def _claim(
    location: str,
    portion: Portion,
    token: int,
    moment: int,
    lease_ms: int,
    *,
    upto_ms: int = HURRIED_MS,
) -> tuple[Quarantined, ...]:
    params = {**portion.params, "location": location, "upto": upto_ms, "now": moment}
    ids = [row.id for row in fetch(_CLAIM, {**params, "token": token, "lease": moment + lease_ms})]
    return _read(ids, moment)


def claim_digest(digest: str, location: str, *, lease_ms: int) -> QuarantineClaim:
    """Claim the objects of a digest in the trash of a location, due or not; see `claim_quarantined`."""
    moment, token = now_ms(), 1 + secrets.randbits(62)
    params = {"digest": digest, "location": location, "until": moment + lease_ms, "token": token}
    ids = [row.id for row in fetch(_CLAIM_DIGEST, params)]
    return QuarantineClaim(token, _read(ids, moment))


def _read(ids: Sequence[int], moment: int) -> tuple[Quarantined, ...]:
    return tuple(Quarantined(*row) for row in fetch(_READ, {"ids": BigIntArray(ids), "now": moment}))


def find_quarantined(digest: str) -> tuple[Quarantined, ...]:
    """Return the objects of a digest in the trash; only reads."""
    rows = fetch("SELECT id FROM dredge_quarantine WHERE digest = %s AND put_back_ms IS NULL", (digest,))
    return _read([row.id for row in rows], now_ms())


def settle_quarantined(token: int, ids: Sequence[int]) -> frozenset[int]:
    """Delete the rows of objects that were put back or purged.  Returns the ids that still had the token."""
    # Safe: the rows have our token, and the store has answered that these objects are not in the trash.
    rows = fetch(
        "DELETE FROM dredge_quarantine WHERE id = ANY(%s) AND token = %s RETURNING id",
        (BigIntArray(ids), token),
    )
    return frozenset(row.id for row in rows)


def keep_quarantined(token: int, ids: Sequence[int]) -> None:
    """Keep the rows of objects that are back in their place, while a late request may move them again."""
    execute(_KEEP, {"token": token, "ids": BigIntArray(ids), "now": now_ms(), "every": KEPT_LOOK_MS})


def release_quarantined(token: int, ids: Sequence[int]) -> None:
    """Give back claimed rows with which nothing was done; their next look is when the lease ends."""
    execute(_RELEASE, (BigIntArray(ids), token))


def postpone_quarantined(token: int, errors: Mapping[int, str], *, divide: bool = False) -> None:
    """Note errors and the next tries: 5 seconds later; each failure doubles that time, up to 5 minutes.

    `divide`: they failed as one request, perhaps because of one; then up to 6 hours.
    """
    params = {
        "token": token,
        "ids": BigIntArray(errors),
        "errors": [shortened(error) for error in errors.values()],
        "now": now_ms(),
        "first": FIRST_RETRY_MS,
        "last": LAST_RETRY_MS if divide else LAST_LOOK_MS,
        "divide": divide,
    }
    execute(_POSTPONE, params)
