"""One tag row as a value, and the statements that find rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model.db.connection import fetch
from model.db.prepared import run

_COLUMNS = """
t.id, t.repository_id, t.name, t.manifest_id, m.digest, t.lifetime_start_ms AS start_ms,
t.lifetime_end_ms AS end_ms, t.hidden, t.reversion, t.immutable
FROM tag t JOIN manifest m ON m.id = t.manifest_id
"""
SELECT = f"SELECT {_COLUMNS}"
ALIVE = "(t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > %(now_ms)s)"


def ending_after(condition: str, time: str) -> str:
    """Return SQL: `t` meets `condition` (on `a`), and ends after `time` or has no end.

    Two index scans, because one with OR would read every dead row of a name with a long history.  The end
    is tested again on `t` itself: after a wait for a row's lock PostgreSQL tests only that condition again.
    """
    found = f"SELECT a.id FROM tag a WHERE {condition} AND a.lifetime_end_ms"
    return (
        f"t.id IN ({found} IS NULL UNION ALL {found} > {time})"
        f" AND (t.lifetime_end_ms IS NULL OR t.lifetime_end_ms > {time})"
    )


_OF_NAME = ending_after("a.repository_id = %(repository_id)s AND a.name = %(name)s", "%(now_ms)s")


_ACTIVE_PAGE = f"""
SELECT DISTINCT ON (t.name) {_COLUMNS}
WHERE t.repository_id = %(repository_id)s AND NOT t.hidden AND {ALIVE}
    AND (%(last)s::text IS NULL OR t.name > %(last)s)
ORDER BY t.name, t.lifetime_start_ms DESC, t.id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Tag:
    """One lifetime of a name: alive while `end_ms` is None or in the future."""

    id: int
    repository_id: int
    name: str
    manifest_id: int
    digest: str
    start_ms: int
    end_ms: int | None
    hidden: bool
    reversion: bool
    immutable: bool

    def alive(self, now_ms: int) -> bool:
        """Return whether the name points at the manifest at `now_ms`."""
        return self.end_ms is None or self.end_ms > now_ms


@dataclass(frozen=True)
class TagPage:
    """Some tags in order, and whether there are more after them."""

    tags: tuple[Tag, ...]
    has_more: bool


def tags(where: str, params: dict[str, Any]) -> tuple[Tag, ...]:
    """Return the rows that `where` (conditions, order, limit, lock) selects."""
    ask = fetch if None in params.values() else run
    return tuple(Tag(*row) for row in ask(f"{SELECT} WHERE {where}", params))


def find_alive(repository_id: int, name: str, *, now_ms: int, lock: bool = False) -> tuple[Tag, ...]:
    """Return the alive, visible rows of one name, newest first.  Only a race of other software makes two."""
    return tags(
        f"{_OF_NAME} AND NOT t.hidden ORDER BY t.lifetime_start_ms DESC, t.id DESC {_locked(lock)}",
        {"repository_id": repository_id, "name": name, "now_ms": now_ms},
    )


def find_alive_of_manifest(
    repository_id: int, manifest: int | str, *, now_ms: int, lock: bool = False
) -> tuple[Tag, ...]:
    """Return all alive rows of one manifest (by id or digest), hidden ones too, by id."""
    column = "id" if isinstance(manifest, int) else "digest"
    pointing = f"""
        a.manifest_id = (SELECT x.id FROM manifest x
        WHERE x.repository_id = %(repository_id)s AND x.{column} = %(manifest)s)
        """
    return tags(
        f"{ending_after(pointing, '%(now_ms)s')} ORDER BY t.id {_locked(lock)}",
        {"repository_id": repository_id, "manifest": manifest, "now_ms": now_ms},
    )


def find_active_page(repository_id: int, *, last: str | None, limit: int, now_ms: int) -> TagPage:
    """Return at most `limit` alive, visible tags by name, after the name `last`; one row for each name."""
    found = fetch(
        _ACTIVE_PAGE,
        {"repository_id": repository_id, "now_ms": now_ms, "last": last, "limit": limit + 1},
    )
    page = tuple(Tag(*row) for row in found)
    return TagPage(page[:limit], len(page) > limit)


def _locked(lock: bool) -> str:
    return "FOR UPDATE OF t" if lock else ""
