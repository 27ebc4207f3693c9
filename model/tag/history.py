"""The time machine: what a repository's names pointed at, as far back as it can be restored."""

from __future__ import annotations

from dataclasses import dataclass

from model.tag.rows import ALIVE, Tag, tags

# A dead row, inside its namespace's window: exactly what the collector's rule does not call unrecoverable.
_RECOVERABLE = "(t.lifetime_end_ms <= %(now_ms)s AND t.lifetime_end_ms > %(now_ms)s - %(window_ms)s)"


@dataclass(frozen=True)
class Lifetime:
    """A line of the history: a tag that is alive, or that can be restored before `recoverable_until_ms`."""

    tag: Tag
    restorable: bool
    recoverable_until_ms: int | None


@dataclass(frozen=True)
class History:
    """Lifetimes, the latest beginning first; `before_id` asks for the next page, None on the last one."""

    lifetimes: tuple[Lifetime, ...]
    before_id: int | None


def find_history(
    repository_id: int,
    *,
    now_ms: int,
    window_ms: int,
    name: str | None = None,
    before_id: int | None = None,
    limit: int = 100,
) -> History:
    """At most `limit` visible rows that are alive or restorable at `now_ms`; later ids first.

    A row past its window is not shown, even if it has not been collected yet: it is lost to every
    reader at the same instant.
    """
    found = tags(
        f"t.repository_id = %(repository_id)s AND NOT t.hidden AND ({ALIVE} OR {_RECOVERABLE})"
        " AND (%(name)s::text IS NULL OR t.name = %(name)s)"
        " AND (%(before_id)s::int IS NULL OR t.id < %(before_id)s)"
        " ORDER BY t.id DESC LIMIT %(limit)s",
        {
            "repository_id": repository_id,
            "now_ms": now_ms,
            "window_ms": window_ms,
            "name": name,
            "before_id": before_id,
            "limit": limit + 1,
        },
    )
    shown = tuple(_lifetime(tag, now_ms, window_ms) for tag in found[:limit])
    return History(shown, found[limit - 1].id if len(found) > limit else None)


def find_recoverable(
    repository_id: int, name: str, digest: str, *, now_ms: int, window_ms: int, limit: int | None = None
) -> tuple[Tag, ...]:
    """The restorable rows of one name and digest, latest end first, locked.

    A row that a collection is deleting is waited for, and is not there then; one that is locked
    here is skipped by collections: exactly one of the two gets it.
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
