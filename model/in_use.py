"""The list of digests in use.  It is replaced as a whole; while it is too old, no tag is ended."""

from __future__ import annotations

from collections.abc import Collection

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute, fetch_one, transaction
from model.errors import RegistryError

_NAME = "in_use"

_AGE = (
    f"SELECT {NOW_MS_SQL} - moved_ms AS age_ms, position AS digests FROM dredge_cursor WHERE name = '{_NAME}'"
)

_ADD = """
INSERT INTO dredge_in_use (digest) SELECT DISTINCT unnest(%(digests)s::text[]) ON CONFLICT DO NOTHING
"""

_REMOVE = """
DELETE FROM dredge_in_use u WHERE NOT EXISTS (SELECT FROM unnest(%(digests)s::text[]) w (digest)
                                              WHERE w.digest = u.digest)
"""

_STAMP = f"""
INSERT INTO dredge_cursor (name, position, moved_ms) VALUES ('{_NAME}', %(count)s, {NOW_MS_SQL})
ON CONFLICT (name) DO UPDATE SET position = excluded.position, moved_ms = excluded.moved_ms
"""


class StaleInUseList(RegistryError):
    """The list of digests in use is missing or too old: no tag is ended until it is loaded again."""


class EmptyInUseList(RegistryError):
    """The list of digests in use is empty: the list from before stays."""


def replace_in_use(digests: Collection[str]) -> int:
    """Replace the list of digests in use, in one transaction.  Returns how many.  Idempotent.

    Raises `EmptyInUseList` for an empty list, because its source is probably broken.
    """
    if not digests:
        raise EmptyInUseList()
    params = {"digests": sorted(set(digests))}
    with transaction():
        # One transaction inserts new digests and deletes old ones: no reader sees a part of the list.
        execute(_ADD, params)
        execute(_REMOVE, params)
        execute(_STAMP, {"count": len(params["digests"])})
    return len(params["digests"])


def is_in_use(digest: str) -> bool:
    """Return whether the list has the digest.  Only reads."""
    return fetch_one("SELECT FROM dredge_in_use WHERE digest = %s", (digest,)) is not None


def read_age_ms() -> int | None:
    """Return the age of the list in milliseconds; None if none was ever loaded.  Only reads."""
    row = fetch_one(_AGE)
    return None if row is None else int(row.age_ms)


def count_in_use() -> int:
    """Return how many digests are in use, by the last list.  Only reads."""
    row = fetch_one(_AGE)
    return 0 if row is None else int(row.digests)


def require_fresh(max_age_ms: int | None) -> None:
    """Raise `StaleInUseList` if the list is older than `max_age_ms`; None means that no list is configured.

    Call it in the transaction that ends tags.
    """
    if max_age_ms is None:
        return
    age_ms = read_age_ms()
    if age_ms is None or age_ms > max_age_ms:
        raise StaleInUseList(age_ms=age_ms, max_age_ms=max_age_ms)
