"""Objects in the trash that no row knows: a process moved them that was frozen for longer than any fence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.db.arrays import BigIntArray
from model.db.connection import fetch, transaction
from model.gc.orphans.marks import KeyRange, mark_orphans, try_lock_sweep
from model.gc.orphans.objects import find_known
from model.storage_paths import TRASH_FOLDER, set_aside_from

KIND = "trash"

# A restored database uses ids again, so the path decides whether the row belongs to this object.
_STRAY = """
SELECT s.id, s.trash, s.path FROM unnest(%(ids)s, %(paths)s::text[], %(names)s::text[]) AS s (id, path, trash)
WHERE NOT EXISTS (SELECT FROM dredge_quarantine q WHERE q.id = s.id AND q.trash = s.trash)
  AND NOT EXISTS (SELECT FROM dredge_tombstone t WHERE t.id = s.id AND s.path IN ('', t.path))
"""


@dataclass(frozen=True)
class Stray:
    """An object in the trash without a row; `path` is empty if its name does not contain one.

    `id`: that of the tombstone for which it was moved.
    """

    id: int
    trash: str
    path: str
    needed: bool


def find_stray(names: Sequence[str], location: str) -> list[Stray]:
    """Return those of the names in the trash that no row knows; only reads.

    `needed`: a blob row, an upload or a tombstone refers to the path that the object was moved from.
    """
    read = {name: found for name in names if (found := set_aside_from(name))}
    if not read:
        return []
    rows = fetch(
        _STRAY,
        {
            "ids": BigIntArray(id for id, _ in read.values()),
            "paths": [path for _, path in read.values()],
            "names": list(read),
        },
    )
    needed = find_known([row.path for row in rows if row.path], location)
    return [Stray(row.id, row.trash, row.path, row.path in needed) for row in rows]


def mark_stray(location: str, names: Sequence[str], *, now_ms: int, delay_ms: int) -> list[str]:
    """Mark stray objects of a location that nothing needs.  Returns those marked `delay_ms` ago, to purge.

    Call `find_stray` again before the purge.
    """
    prefix = f"{location}:"
    with transaction():
        if not try_lock_sweep(f"{KIND}:{location}"):
            return []
        slice = KeyRange(KIND, f"{prefix}{TRASH_FOLDER}/", f"{prefix}{TRASH_FOLDER}/~")
        confirmed = mark_orphans(slice, [prefix + name for name in names], now_ms=now_ms, delay_ms=delay_ms)
    return [key.removeprefix(prefix) for key in confirmed]
