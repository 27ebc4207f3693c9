"""Orphans among the rows: manifests, blobs, labels and statistics that nothing leads to.

Crashes of other software leave them behind.  A sweep hands what two passes have found to the stage that
judges it under its locks.  So a wrong suspect costs one judgement and deletes no data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from model.db.arrays import IntArray
from model.db.connection import execute, fetch, fetch_one, transaction
from model.errors import RegistryError
from model.fsck.manifests import USED
from model.gc.orphans.marks import KeyRange, mark_orphans, try_lock_sweep
from model.gc.poison import attempt, clear, count_poison, is_waiting, record_error
from model.manifest.candidate import judge_next
from model.policy import Policy

STAGE = "sweep"


@dataclass(frozen=True)
class SliceResult:
    """The result of one slice of one kind: numbers of rows read, suspect and confirmed.

    `position` is where the next slice starts, 0 at the end of the table.
    """

    looked: int = 0
    suspects: int = 0
    confirmed: int = 0
    position: int = 0


@dataclass(frozen=True)
class Kind:
    """A table to sweep: how many ids a slice has, the SQL for its suspects, and what judges the confirmed."""

    name: str
    table: str
    per_slice: int
    suspects: str
    hand_over: Callable[[Sequence[int], int], None]


def _to_collector(ids: Sequence[int], now_ms: int) -> None:
    judge_next(ids, now_ms=now_ms)


_TO_REVIEW = """
INSERT INTO dredge_blob_candidate (blob_id, repository_id, created_ms)
    SELECT id, NULL, %s FROM imagestorage WHERE id = ANY(%s)
"""


def _to_review(ids: Sequence[int], now_ms: int) -> None:
    execute(_TO_REVIEW, (now_ms, IntArray(ids)))


_PURGE_LABELS = """
DELETE FROM label l WHERE l.id = ANY(%s)
    AND NOT EXISTS (SELECT FROM manifestlabel m WHERE m.label_id = l.id)
"""


def _purge_labels(ids: Sequence[int], now_ms: int) -> None:
    locked = fetch("SELECT id FROM label WHERE id = ANY(%s) FOR UPDATE SKIP LOCKED", (IntArray(ids),))
    # Safe: the rows are locked, and this is a new statement; a transaction that wants to refer to one waits.
    execute(_PURGE_LABELS, (IntArray(row.id for row in locked),))


def _purge_rows(table: str, still: str) -> Callable[[Sequence[int], int], None]:
    def purge(ids: Sequence[int], now_ms: int) -> None:
        # Safe: these count pulls of something that does not exist; a later pull inserts a new row.
        execute(f"DELETE FROM {table} s WHERE s.id = ANY(%s) AND {still}", (IntArray(ids),))

    return purge


_NO_TAG = "NOT EXISTS (SELECT FROM tag t WHERE t.repository_id = s.repository_id AND t.name = s.tag_name)"
_NO_MANIFEST = """
NOT EXISTS (SELECT FROM manifest m
    WHERE m.repository_id = s.repository_id AND m.digest = s.manifest_digest)
"""
_WITHIN = "s.id > %(above)s AND s.id <= %(upto)s"

# Manifests are read by repository, because their users are in the same repository.
MANIFESTS = Kind(
    "manifest",
    "repository",
    2_000,
    f"""
    {USED} SELECT m.id FROM dead m JOIN repository r ON r.id = m.repository_id
        JOIN "user" n ON n.id = r.namespace_user_id
        WHERE n.enabled AND m.id NOT IN (SELECT id FROM traced)
    """,
    _to_collector,
)
BLOBS = Kind(
    "blob",
    "imagestorage",
    20_000,
    f"""
    SELECT s.id FROM imagestorage s WHERE {_WITHIN}
        AND NOT EXISTS (SELECT FROM manifestblob m WHERE m.blob_id = s.id)
        AND NOT EXISTS (SELECT FROM uploadedblob u WHERE u.blob_id = s.id)
        AND NOT EXISTS (SELECT FROM dredge_blob_candidate k WHERE k.blob_id = s.id)
    """,
    _to_review,
)
LABELS = Kind(
    "label",
    "label",
    20_000,
    f"""
    SELECT s.id FROM label s WHERE {_WITHIN}
        AND NOT EXISTS (SELECT FROM manifestlabel m WHERE m.label_id = s.id)
    """,
    _purge_labels,
)
TAG_PULLS = Kind(
    "tag-statistics",
    "tagpullstatistics",
    20_000,
    f"SELECT s.id FROM tagpullstatistics s WHERE {_WITHIN} AND {_NO_TAG}",
    _purge_rows("tagpullstatistics", _NO_TAG),
)
MANIFEST_PULLS = Kind(
    "manifest-statistics",
    "manifestpullstatistics",
    20_000,
    f"SELECT s.id FROM manifestpullstatistics s WHERE {_WITHIN} AND {_NO_MANIFEST}",
    _purge_rows("manifestpullstatistics", _NO_MANIFEST),
)
KINDS = (MANIFESTS, BLOBS, LABELS, TAG_PULLS, MANIFEST_PULLS)


def sweep_slice(
    kind: Kind, *, after: int, policy: Policy, now_ms: int, delay_ms: int, dry_run: bool = False
) -> SliceResult:
    """Mark the suspects of the next slice of a kind, and hand over those that were marked long enough ago.

    Runs one transaction.  `dry_run` only counts.  A second sweep of the kind at the same time does nothing.
    A second run finds the same suspects, and confirms none before the delay is over.
    """
    with transaction():
        if not try_lock_sweep(kind.name):
            return SliceResult(position=after)
        page = fetch_one(
            f"""
            SELECT count(*) AS looked, max(id) AS last
            FROM (SELECT id FROM {kind.table} WHERE id > %s ORDER BY id LIMIT %s) page
            """,
            (after, kind.per_slice),
        )
        if not page.looked:
            return SliceResult()
        bounds = {"above": after, "upto": page.last}
        suspects = [row.id for row in fetch(kind.suspects, _parameters(policy, now_ms) | bounds)]
        position = page.last if page.looked == kind.per_slice else 0
        looked = page.looked if kind is not MANIFESTS else _count_manifests(bounds)
        if dry_run:
            return SliceResult(looked, len(suspects), 0, position)
        confirmed = _mark(kind, suspects, bounds, now_ms=now_ms, delay_ms=delay_ms)
        _hand_over(kind, confirmed, now_ms)
        return SliceResult(looked, len(suspects), len(confirmed), position)


def _hand_over(kind: Kind, ids: Sequence[int], now_ms: int) -> None:
    """Hand the confirmed rows to their judge; if that fails, try each half, down to single rows.

    A row that fails alone is set aside, and the others are handed over.  Raises errors of an outage.
    """
    set_aside = count_poison().get(STAGE, 0) > 0
    todo = [id for id in ids if not (set_aside and is_waiting(STAGE, f"{kind.name}/{id}"))]
    if not todo:
        return
    try:
        with transaction():
            kind.hand_over(todo, now_ms)
            if set_aside:
                for id in todo:
                    clear(STAGE, f"{kind.name}/{id}")
            return
    except RegistryError:
        raise
    except Exception as error:  # noqa: BLE001  a trigger or a foreign key of somebody else's
        if len(todo) == 1:
            key = f"{kind.name}/{todo[0]}"
            attempt(STAGE, key)
            record_error(STAGE, key, f"{type(error).__name__}: {error}")
            return
    half = len(todo) // 2
    _hand_over(kind, todo[:half], now_ms)
    _hand_over(kind, todo[half:], now_ms)


def _count_manifests(bounds: dict[str, int]) -> int:
    row = fetch_one(
        "SELECT count(*) AS n FROM manifest WHERE repository_id > %(above)s AND repository_id <= %(upto)s",
        bounds,
    )
    return int(row.n)


def _mark(
    kind: Kind, suspects: Sequence[int], bounds: dict[str, int], *, now_ms: int, delay_ms: int
) -> list[int]:
    """Mark the suspects of a slice, with keys that sort like the ids."""
    places = {row.id: row.place for row in _places(kind, suspects)}
    keys = [f"{places[id]:012d}/{id:012d}" for id in suspects if id in places]
    slice = KeyRange(kind.name, f"{bounds['above']:012d}~", f"{bounds['upto']:012d}~")
    confirmed = mark_orphans(slice, keys, now_ms=now_ms, delay_ms=delay_ms)
    return [int(key.rpartition("/")[2]) for key in confirmed]


def _places(kind: Kind, ids: Sequence[int]) -> list[Any]:
    place = "repository_id" if kind is MANIFESTS else "id"
    table = "manifest" if kind is MANIFESTS else kind.table
    return fetch(f"SELECT id, {place} AS place FROM {table} WHERE id = ANY(%s)", (IntArray(ids),))


def _parameters(policy: Policy, now_ms: int) -> dict[str, int | bool]:
    return {"now_ms": now_ms, "cascade": policy.referrers == "cascade", "grace_ms": policy.referrer_grace_ms}
