"""Leases: a duty that one process of the fleet has at a time.  Being rows, they work behind a pooler."""

from __future__ import annotations

from model.db.clock import NOW_MS_SQL
from model.db.connection import execute

_TAKE = f"""
INSERT INTO dredge_lease AS l (name, holder, until_ms)
VALUES (%(name)s, %(holder)s, {NOW_MS_SQL} + %(lease_ms)s)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
WHERE l.holder = excluded.holder OR l.until_ms <= {NOW_MS_SQL}
"""


def take_lease(name: str, holder: str, *, lease_ms: int) -> bool:
    """Take or renew a lease; False if another process has it.

    A lease that is not renewed expires, so a dead process blocks the duty for `lease_ms` at most.
    """
    return execute(_TAKE, {"name": name, "holder": holder, "lease_ms": lease_ms}) == 1


def release_lease(name: str, holder: str) -> None:
    """Release the lease, if `holder` still has it.  Idempotent."""
    execute("DELETE FROM dredge_lease WHERE name = %s AND holder = %s", (name, holder))
