"""Tombstones: objects to erase, claimed by row locks, settled or postponed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model.db.clock import now_ms
from model.db.connection import BigIntArray, execute, fetch

FIRST_RETRY_MS = 5_000
LAST_RETRY_MS = 6 * 3_600_000


@dataclass(frozen=True)
class Tombstone:
    """One object at one location.  `digest` is None where no other row can name the object."""

    id: int
    digest: str | None
    path: str
    location: str
    size: int
    tries: int


def claim_tombstones(*, limit: int, among: Sequence[int] | None = None) -> list[Tombstone]:
    """Lock at most `limit` due tombstones (`among` these ids) for this transaction, longest due first.

    SKIP LOCKED: what another eraser or a push holds is theirs.  The locks end with the
    transaction, so call it inside the one that erases; the server's limit on idle transactions
    is lifted for it, because the locks must outlive a frozen process: a push waits rather than
    meet a delete that was sent before.
    """
    execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    rows = fetch(
        "SELECT id, digest, path, location, size, tries FROM dredge_tombstone"
        f" WHERE due_ms <= %(now)s {'' if among is None else 'AND id = ANY(%(among)s)'}"
        " ORDER BY due_ms, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED",
        {"now": now_ms(), "limit": limit, "among": BigIntArray(among or ())},
    )
    return [Tombstone(*row) for row in rows]


def find_referred(tombstones: Iterable[Tombstone]) -> frozenset[int]:
    """Ids of the tombstones whose object a blob row speaks of again; only reads.

    That is a row of the digest that is placed at the tombstone's location, or nowhere yet.  A row that
    is placed elsewhere only has its own object there.  Its own statement, after the claim: a push
    deletes the tombstone before it writes its row, so a row that this does not see belongs to a
    push that is waiting for our lock.
    """
    named = [tombstone for tombstone in tombstones if tombstone.digest]
    if not named:
        return frozenset()
    rows = fetch(
        "SELECT s.id FROM unnest(%s, %s, %s) AS s (id, digest, location) WHERE EXISTS"
        " (SELECT FROM imagestorage b LEFT JOIN imagestorageplacement p ON p.storage_id = b.id"
        "  LEFT JOIN imagestoragelocation l ON l.id = p.location_id"
        "  WHERE b.content_checksum = s.digest AND b.cas_path"
        "  AND (p.id IS NULL OR l.name = s.location) OFFSET 0)",
        (
            BigIntArray(tombstone.id for tombstone in named),
            [tombstone.digest for tombstone in named],
            [tombstone.location for tombstone in named],
        ),
    )
    return frozenset(row.id for row in rows)


def fence_tombstones(ids: Sequence[int], *, late_delete_ms: int) -> None:
    """Note that a delete may be under way until `late_delete_ms` from now; pushes then ask for patience."""
    execute(
        "UPDATE dredge_tombstone SET fenced_until_ms = %s WHERE id = ANY(%s)",
        (now_ms() + late_delete_ms, BigIntArray(ids)),
    )


def settle_tombstones(ids: Sequence[int]) -> None:
    """Delete tombstones whose objects are gone, or needed again."""
    # Safe: the caller holds these rows, and either saw the object erased or the digest referred to.
    execute("DELETE FROM dredge_tombstone WHERE id = ANY(%s)", (BigIntArray(ids),))


def postpone_tombstones(errors: dict[int, str], *, late_delete_ms: int = 0) -> None:
    """Try these again later: twice as long after each failure, from 5 seconds to 6 hours.

    Where the outcome of a delete is unknown, `late_delete_ms` says how long it may still land.
    """
    moment = now_ms()
    execute(
        "UPDATE dredge_tombstone t SET tries = t.tries + 1, last_error = e.error,"
        " fenced_until_ms = nullif(greatest(coalesce(t.fenced_until_ms, 0), %(fence)s), 0),"
        " due_ms = %(now)s + least(%(last)s, %(first)s * power(2, least(t.tries, 20)))::bigint"
        " FROM unnest(%(ids)s, %(errors)s) AS e (id, error) WHERE t.id = e.id",
        {
            "ids": BigIntArray(errors),
            "errors": [error[:500] for error in errors.values()],
            "now": moment,
            "fence": moment + late_delete_ms if late_delete_ms else 0,
            "first": FIRST_RETRY_MS,
            "last": LAST_RETRY_MS,
        },
    )


def backlog() -> tuple[int, int, int]:
    """How many tombstones there are, their bytes, and how many failed before."""
    row = fetch(
        "SELECT count(*) AS tombstones, coalesce(sum(size), 0)::bigint AS bytes,"
        " count(*) FILTER (WHERE tries > 0) AS failing FROM dredge_tombstone"
    )[0]
    return row.tombstones, row.bytes, row.failing
