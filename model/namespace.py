"""Namespaces: find them, create them if missing, and change their recovery window."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from model.db.connection import execute, fetch, fetch_one
from model.db.introspection import has_table
from model.errors import BadInput, NameTaken, NoSuchNamespace

_SELECT = (
    'SELECT u.id, u.username AS name, u.removed_tag_expiration_s * 1000 AS window_ms, u.enabled FROM "user" u'
)

# A deleted namespace keeps its name until it is purged, so that it can be restored under it.
_KEPT_NAME = "SELECT FROM deletednamespace d WHERE d.original_username = %s"


@dataclass(frozen=True)
class Namespace:
    """A user or an organisation; `window_ms` is how long its deleted tags can be restored."""

    id: int
    name: str
    window_ms: int
    enabled: bool


def get(name: str) -> Namespace | None:
    """Return the namespace of that name, or None."""
    return _namespace(fetch_one(f"{_SELECT} WHERE u.username = %s", (name,)))


_NAMES_LIKE = """
SELECT username FROM "user" WHERE enabled AND NOT robot AND starts_with(username, %s)
ORDER BY username LIMIT %s
"""


def names_like(prefix: str, *, limit: int) -> list[str]:
    """Return at most `limit` namespaces whose name begins with `prefix`, by name."""
    return [row.username for row in fetch(_NAMES_LIKE, (prefix, limit))]


_INSERT = f"""
INSERT INTO "user" (uuid, username, email, verified, organization, robot, invoice_email,
    invalid_login_attempts, last_invalid_login, enabled, removed_tag_expiration_s, creation_date)
    SELECT %s, %s, %s, true, true, false, false, 0, now() AT TIME ZONE 'UTC', true,
    coalesce(%s, 1209600), now() AT TIME ZONE 'UTC'
    WHERE NOT EXISTS ({_KEPT_NAME}) ON CONFLICT (username) DO NOTHING
"""


def ensure(name: str, *, window_s: int | None = None) -> Namespace:
    """Return the namespace of that name; create an organisation if it is missing.  Idempotent.

    One statement decides which caller creates it, so that two callers at once get the same row.
    Only the call that creates it uses `window_s`.  Raises `NameTaken` while a deleted namespace of that
    name can still be restored.
    """
    found = get(name)
    if found is None:
        execute(
            _INSERT,
            # An organisation has no address of its own, and the column is unique: Quay writes a uuid, too.
            (str(uuid.uuid4()), name, str(uuid.uuid4()), window_s, name),
        )
        found = get(name)
    if found is None and fetch_one(_KEPT_NAME, (name,)) is not None:
        raise NameTaken(
            "A deleted namespace has this name until it is purged: restore it, or choose another name",
            namespace=name,
        )
    if found is None:
        raise NoSuchNamespace(namespace=name)
    return found


def change_window(name: str, window_s: int) -> Namespace:
    """Set how long deleted tags of a namespace can be restored, from the commit on.  Idempotent."""
    if isinstance(window_s, bool) or not isinstance(window_s, int) or not 0 <= window_s <= 10**10:
        raise BadInput("A recovery window is a number of seconds from 0 up", window_s=window_s)
    if not execute('UPDATE "user" SET removed_tag_expiration_s = %s WHERE username = %s', (window_s, name)):
        raise NoSuchNamespace(namespace=name)
    return ensure(name)


_GEO_RESTRICTIONS = """
SELECT g.restricted_region_iso_code AS code FROM namespacegeorestriction g
    JOIN "user" u ON u.id = g.namespace_id WHERE u.username = %s ORDER BY 1
"""


def geo_restrictions(name: str) -> tuple[str, ...]:
    """Return the ISO codes of the regions that may not pull from a namespace, sorted.

    Newer databases do not have the table; then the result is empty.
    """
    if not has_table("namespacegeorestriction"):
        return ()
    rows = fetch(_GEO_RESTRICTIONS, (name,))
    return tuple(row.code for row in rows)


def _namespace(row: Any) -> Namespace | None:
    return None if row is None else Namespace(row.id, row.name, int(row.window_ms), row.enabled)
