"""Begin and end a tag's lifetime: the only statements that insert a tag or change its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from model.db.arrays import BigIntArray, IntArray
from model.db.connection import fetch, fetch_one
from model.db.prepared import run, run_one
from model.errors import ManifestGone, SchemaMismatch
from model.tag.rows import Tag

_OTHER = """
EXISTS (SELECT FROM tag o WHERE o.repository_id = %(repository_id)s
    AND o.name = s.tag_name AND o.id <> ALL(%(ids)s) AND o.lifetime_end_ms
"""


def assign_ends(names: Sequence[str], wanted_ms: int, taken: Mapping[str, set[int]]) -> list[int]:
    """Return for each name the last millisecond, at or before `wanted_ms`, at which no row of that name ends.

    A pure function.  If a name comes twice, each gets an end of its own.
    """
    used = {name: set(ends) for name, ends in taken.items()}
    assigned = []
    for name in names:
        ends = used.setdefault(name, set())
        end_ms = wanted_ms
        while end_ms in ends:
            end_ms -= 1
        ends.add(end_ms)
        assigned.append(end_ms)
    return assigned


_TAKEN_ENDS = """
SELECT name, lifetime_end_ms AS end_ms FROM tag WHERE repository_id = %(repository_id)s
    AND name = ANY(%(names)s) AND lifetime_end_ms BETWEEN %(first)s AND %(last)s
"""


def free_ends(repository_id: int, names: Sequence[str], wanted_ms: int) -> list[int]:
    """Read the ends near `wanted_ms`, and return a free end for each name (`assign_ends`).

    The unique index on (repository, name, end) allows one row in each millisecond.
    """
    span = 64 + len(names)
    while True:
        taken: dict[str, set[int]] = {}
        for row in run(
            _TAKEN_ENDS,
            {
                "repository_id": repository_id,
                "names": list(set(names)),
                "first": wanted_ms - span,
                "last": wanted_ms,
            },
        ):
            taken.setdefault(row.name, set()).add(row.end_ms)
        ends = assign_ends(names, wanted_ms, taken)
        if not ends or min(ends) >= wanted_ms - span:
            return ends
        span *= 8


_EXPIRE = f"""
WITH ended AS (UPDATE tag SET lifetime_end_ms = wanted.end_ms
    FROM unnest(%(ids)s, %(ends)s) AS wanted(id, end_ms) WHERE tag.id = wanted.id),
    notified AS (DELETE FROM tagnotificationsuccess WHERE tag_id = ANY(%(ids)s)),
    pulls AS (DELETE FROM tagpullstatistics s WHERE s.repository_id = %(repository_id)s
    AND s.tag_name = ANY(%(names)s)
    AND NOT {_OTHER} IS NULL) AND NOT {_OTHER} > %(now_ms)s))
    SELECT 1 AS done
"""


def expire_tags(tags: Sequence[Tag], *, end_ms: int, now_ms: int) -> tuple[Tag, ...]:
    """End these rows of one repository at or just before `end_ms`.  Returns the changed rows.

    Also deletes the notes of notifications sent about the rows, and the pull statistics of each name
    without another alive row.  The caller holds the repository's tag lock and has locked the rows.
    Not idempotent: a second call moves the ends again.
    """
    if not tags:
        return ()
    ends = free_ends(tags[0].repository_id, [tag.name for tag in tags], end_ms)
    run(
        _EXPIRE,
        {
            "ids": IntArray(tag.id for tag in tags),
            "ends": BigIntArray(ends),
            "repository_id": tags[0].repository_id,
            "names": [tag.name for tag in tags],
            "now_ms": now_ms,
        },
    )
    return tuple(replace(tag, end_ms=end) for tag, end in zip(tags, ends, strict=True))


_DISPLACE = """
UPDATE tag SET lifetime_end_ms = wanted.end_ms
    FROM unnest(%(ids)s, %(ends)s) AS wanted(id, end_ms) WHERE tag.id = wanted.id
"""


def displace_tags(tags: Sequence[Tag], *, end_ms: int) -> tuple[Tag, ...]:
    """End these rows because their name moves to another manifest.  Pull statistics of the name stay.

    The caller holds the repository's tag lock and has locked the rows.
    """
    if not tags:
        return ()
    ends = free_ends(tags[0].repository_id, [tag.name for tag in tags], end_ms)
    run(_DISPLACE, {"ids": IntArray(tag.id for tag in tags), "ends": BigIntArray(ends)})
    return tuple(replace(tag, end_ms=end) for tag, end in zip(tags, ends, strict=True))


def set_end(tag: Tag, end_ms: int | None) -> Tag:
    """Move one row's end to `end_ms`, or to the last free millisecond before it; None means no end.

    Also deletes the notes of warnings about the old end, so that the new end is announced.
    """
    if end_ms is not None:
        end_ms = free_ends(tag.repository_id, [tag.name], end_ms)[0]
    fetch("UPDATE tag SET lifetime_end_ms = %s WHERE id = %s", (end_ms, tag.id))
    fetch("DELETE FROM tagnotificationsuccess WHERE tag_id = %s", (tag.id,))
    return replace(tag, end_ms=end_ms)


def set_immutable(tag: Tag, immutable: bool) -> Tag:
    """Set or clear one row's immutability."""
    fetch("UPDATE tag SET immutable = %s WHERE id = %s", (immutable, tag.id))
    return replace(tag, immutable=immutable)


_HOLD_BY_ID = """
SELECT id, digest FROM manifest
    WHERE repository_id = %(repository_id)s AND id = %(manifest)s FOR KEY SHARE
"""

_HOLD_BY_DIGEST = """
SELECT id, digest FROM manifest
    WHERE repository_id = %(repository_id)s AND digest = %(manifest)s FOR KEY SHARE
"""


def hold_manifest(repository_id: int, manifest: int | str) -> Any:
    """Keep a manifest (by id or digest) from collection until the transaction ends.  Returns id and digest.

    Waits for a collection that judges it.  If the collection has deleted it, raises `ManifestGone`.  If
    not, later collections see the tag that this transaction commits.
    """
    row = run_one(
        _HOLD_BY_ID if isinstance(manifest, int) else _HOLD_BY_DIGEST,
        {"repository_id": repository_id, "manifest": manifest},
    )
    if row is None:
        raise ManifestGone(
            "There is no such manifest in the repository, or it has been collected: push it again",
            repository_id=repository_id,
            manifest=manifest,
        )
    return row


_INSERT = """
INSERT INTO tag (name, repository_id, manifest_id, lifetime_start_ms, lifetime_end_ms, hidden,
    reversion, tag_kind_id, immutable) SELECT %s, %s, %s, %s, %s, %s, %s, k.id, false
    FROM tagkind k WHERE k.name = 'tag' RETURNING id
"""


def insert_tag(
    repository_id: int,
    name: str,
    manifest_id: int,
    digest: str,
    *,
    start_ms: int,
    end_ms: int | None = None,
    hidden: bool = False,
    reversion: bool = False,
) -> Tag:
    """Insert a tag on a manifest that the caller holds (`hold_manifest`)."""
    if end_ms is not None:
        end_ms = free_ends(repository_id, [name], end_ms)[0]
    row = fetch_one(_INSERT, (name, repository_id, manifest_id, start_ms, end_ms, hidden, reversion))
    if row is None:
        raise SchemaMismatch("The table tagkind lacks its row `tag`: run `dredge init`")
    return Tag(row.id, repository_id, name, manifest_id, digest, start_ms, end_ms, hidden, reversion, False)
