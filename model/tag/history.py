"""The time machine: the manifests that a repository's tags pointed to and that can still be restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from model.tag.rows import Tag, ending_after, tags

_OF_NAME = ending_after("a.repository_id = %(repository_id)s AND a.name = %(name)s", "%(lost_ms)s")
_OF_REPOSITORY = (
    "t.repository_id = %(repository_id)s AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > %(lost_ms)s)"
)
# A dead row inside its namespace's window: the exact opposite of the collector's `UNRECOVERABLE`.
_RECOVERABLE = "(t.lifetime_end_ms <= %(now_ms)s AND t.lifetime_end_ms > %(now_ms)s - %(window_ms)s)"


# A page begins after the row with this start and this id.
Position: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Lifetime:
    """A line of the history: a tag that is alive, or that can be restored before `recoverable_until_ms`."""

    tag: Tag
    restorable: bool
    recoverable_until_ms: int | None


@dataclass(frozen=True)
class History:
    """Lifetimes, the latest beginning first; `next` is the `before` of the next page, None on the last."""

    lifetimes: tuple[Lifetime, ...]
    next: Position | None


def find_history(
    repository_id: int,
    *,
    now_ms: int,
    window_ms: int,
    name: str | None = None,
    before: Position | None = None,
    limit: int = 100,
) -> History:
    """Return at most `limit` visible rows that are alive or restorable at `now_ms`, latest start first.

    Leaves out a row past its window, even if it is not collected yet: so it ends for all readers at the
    same time.
    """
    found = tags(
        f"{_OF_REPOSITORY if name is None else _OF_NAME} AND NOT t.hidden"
        " AND (%(before_ms)s::bigint IS NULL"
        "  OR (t.lifetime_start_ms, t.id) < (%(before_ms)s::bigint, %(before_id)s::int))"
        " ORDER BY t.lifetime_start_ms DESC, t.id DESC LIMIT %(limit)s",
        {
            "repository_id": repository_id,
            "lost_ms": now_ms - window_ms,
            "name": name,
            "before_ms": before[0] if before else None,
            "before_id": before[1] if before else None,
            "limit": limit + 1,
        },
    )
    shown = tuple(_lifetime(tag, now_ms, window_ms) for tag in found[:limit])
    last = shown[-1].tag if len(found) > limit else None
    return History(shown, (last.start_ms, last.id) if last else None)


def find_recoverable(
    repository_id: int, name: str, digest: str, *, now_ms: int, window_ms: int, limit: int | None = None
) -> tuple[Tag, ...]:
    """Find and lock the restorable rows of one name and digest, latest end first.

    Waits for a collection that deletes such a row, and then does not return the row.  Collections skip the
    rows that are locked here.  So either the restore or a collection gets a row, never both.
    """
    return tags(
        "t.repository_id = %(repository_id)s AND t.name = %(name)s AND m.digest = %(digest)s"
        f" AND NOT t.hidden AND {_RECOVERABLE}"
        " ORDER BY t.lifetime_end_ms DESC, t.id DESC LIMIT %(limit)s FOR UPDATE OF t",
        {
            "repository_id": repository_id,
            "name": name,
            "digest": digest,
            "now_ms": now_ms,
            "window_ms": window_ms,
            "limit": limit,
        },
    )


def _lifetime(tag: Tag, now_ms: int, window_ms: int) -> Lifetime:
    until = None if tag.end_ms is None else tag.end_ms + window_ms
    return Lifetime(tag, not tag.alive(now_ms), until)
