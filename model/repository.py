"""Repositories: find them, create them if missing, and list those that a user may see."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from model.db.arrays import IntArray
from model.db.connection import execute, fetch, fetch_one
from model.db.introspection import has_table
from model.db.prepared import run, run_one
from model.db.tables import RepositoryState
from model.errors import NameTaken, NoSuchRepository

_SELECT = """
SELECT r.id, r.name, u.id AS namespace_id, u.username AS namespace, k.name AS kind,
    v.name AS visibility, r.state, u.removed_tag_expiration_s * 1000 AS window_ms, u.enabled
    FROM repository r
    JOIN "user" u ON u.id = r.namespace_user_id
    JOIN repositorykind k ON k.id = r.kind_id
    JOIN visibility v ON v.id = r.visibility_id
"""
_MARKED = int(RepositoryState.MARKED_FOR_DELETION)

# A deleted repository keeps its name until it is purged, so that it can be restored under it.
_KEPT_NAME = """
SELECT FROM deletedrepository d JOIN repository r ON r.id = d.repository_id
WHERE r.namespace_user_id = %s AND d.original_name = %s
"""


@dataclass(frozen=True)
class Repository:
    """A repository with its names and its namespace's recovery window, as of one statement."""

    id: int
    namespace_id: int
    namespace: str
    name: str
    kind: str
    visibility: str
    state: int
    window_ms: int
    enabled: bool

    @property
    def is_marked(self) -> bool:
        """Return whether it is marked for deletion."""
        return self.state == _MARKED

    @property
    def path(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


def by_id(repository_id: int) -> Repository | None:
    """Return the repository of that id; None if it is marked for deletion."""
    sql = f"{_SELECT} WHERE r.id = %(id)s AND r.state <> {_MARKED}"
    return _repository(run_one(sql, {"id": repository_id}))


_BY_NAME = f"""
{_SELECT} WHERE u.username = %s AND r.name = %s AND r.state <> {_MARKED}
    AND (%s::text IS NULL OR k.name = %s)
"""


def by_name(namespace: str, name: str, *, kind: str | None = None) -> Repository | None:
    """Return the repository of that name (and kind, if given); None if it is marked for deletion."""
    return _repository(fetch_one(_BY_NAME, (namespace, name, kind, kind)))


def by_ids(repository_ids: Iterable[int]) -> dict[int, Repository]:
    """Return the repositories of those ids in any state, in one statement."""
    rows = run(f"{_SELECT} WHERE r.id = ANY(%(ids)s)", {"ids": IntArray(repository_ids)})
    return {row.id: Repository(**row._asdict()) for row in rows}


_NAMES_LIKE = f"""
SELECT u.username || '/' || r.name AS path
FROM repository r JOIN "user" u ON u.id = r.namespace_user_id
WHERE r.state <> {_MARKED}
  AND CASE WHEN %(whole)s THEN u.username = %(namespace)s AND starts_with(r.name, %(name)s)
           ELSE starts_with(u.username, %(namespace)s) END
ORDER BY u.username, r.name LIMIT %(limit)s
"""


def names_like(prefix: str, *, limit: int) -> list[str]:
    """Return at most `limit` repositories, as `namespace/name`, whose name begins with `prefix`, by name."""
    namespace, separator, name = prefix.partition("/")
    params = {"whole": bool(separator), "namespace": namespace, "name": name, "limit": limit}
    return [row.path for row in fetch(_NAMES_LIKE, params)]


_INSERT = f"""
INSERT INTO repository (namespace_user_id, name, visibility_id, description, badge_token,
    kind_id, trust_enabled, state) SELECT %s, %s, v.id, %s, %s, k.id, false, 0
    FROM visibility v, repositorykind k WHERE v.name = %s AND k.name = 'image'
    AND NOT EXISTS ({_KEPT_NAME}) ON CONFLICT (namespace_user_id, name) DO NOTHING
"""


def ensure(
    namespace_id: int, name: str, *, visibility: str = "private", description: str | None = None
) -> Repository:
    """Return the image repository of that name; create it if it is missing.  Idempotent.

    The unique index decides which caller creates it, so that two callers at once get the same row.
    Only the call that creates it uses `visibility`.  Raises `NameTaken` while a deleted repository of that
    name can still be restored.
    """
    found = _by_namespace(namespace_id, name)
    if found is None:
        execute(_INSERT, (namespace_id, name, description, str(uuid.uuid4()), visibility, namespace_id, name))
        found = _by_namespace(namespace_id, name)
    if found is None and fetch_one(_KEPT_NAME, (namespace_id, name)) is not None:
        raise NameTaken(
            "A deleted repository has this name until it is purged: restore it, or choose another name",
            repository=name,
        )
    if found is None:
        raise NoSuchRepository(
            "The repository is marked for deletion, or its visibility is not one the registry knows",
            namespace_id=namespace_id,
            repository=name,
            visibility=visibility,
        )
    return found


@dataclass(frozen=True)
class CataloguePage:
    """Repositories in the order of their ids; `next_id` starts the next page, None on the last one."""

    repositories: tuple[Repository, ...]
    next_id: int | None


_BY_USER = """
v.name = 'public' OR u.username = %(username)s OR EXISTS (
    SELECT FROM repositorypermission p JOIN "user" me ON me.id = p.user_id
    WHERE p.repository_id = r.id AND me.username = %(username)s)
"""

_BY_TEAM = """
EXISTS (
    SELECT FROM repositorypermission p
    JOIN teammember tm ON tm.team_id = p.team_id JOIN "user" me ON me.id = tm.user_id
    WHERE p.repository_id = r.id AND me.username = %(username)s)
"""

_CATALOGUE = f"""
{_SELECT} WHERE r.id >= %(start)s AND r.state <> {_MARKED} AND k.name = 'image' AND u.enabled
    AND ({_BY_USER}) ORDER BY r.id LIMIT %(limit)s
"""

_CATALOGUE_WITH_TEAMS = f"""
{_SELECT} WHERE r.id >= %(start)s AND r.state <> {_MARKED} AND k.name = 'image' AND u.enabled
    AND ({_BY_USER} OR {_BY_TEAM}) ORDER BY r.id LIMIT %(limit)s
"""


def catalogue_page(username: str | None, *, start_id: int = 0, limit: int = 100) -> CataloguePage:
    """Return at most `limit` image repositories that `username` (None: anybody) may see, from `start_id` on.

    Anybody may see public ones.  A user may also see those of the own namespace, and those for which the user
    or a team of the user has a permission.
    """
    # Who is in which team is Quay's own table: a database that Dredge made does not have it.
    sql = _CATALOGUE_WITH_TEAMS if has_table("teammember") else _CATALOGUE
    rows = fetch(sql, {"start": start_id, "limit": limit + 1, "username": username})
    page = tuple(Repository(**row._asdict()) for row in rows)
    return CataloguePage(page[:limit], page[limit].id if len(page) > limit else None)


def _by_namespace(namespace_id: int, name: str) -> Repository | None:
    return _repository(
        fetch_one(
            f"{_SELECT} WHERE r.namespace_user_id = %s AND r.name = %s AND r.state <> {_MARKED}",
            (namespace_id, name),
        )
    )


def _repository(row: Any) -> Repository | None:
    return None if row is None else Repository(**row._asdict())
