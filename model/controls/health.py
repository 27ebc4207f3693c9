"""The health of the database: whether collections should pause for a while.  Only reads."""

from __future__ import annotations

from dataclasses import dataclass

from model.db.connection import fetch_one
from model.human import counted

# Only a member of pg_read_all_stats sees the details of other sessions and of replicas.
_HEALTH = """
SELECT (SELECT coalesce(max(extract(epoch FROM r.replay_lag) * 1000), 0) FROM pg_stat_replication r)::bigint
           AS lag_ms,
       (SELECT count(*) FROM pg_stat_activity a
        WHERE a.state = 'active' AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid())
           AS active_sessions,
       pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all
"""


@dataclass(frozen=True)
class DatabaseHealth:
    """The lag of the slowest standby in seconds, and how many other sessions run a statement.

    Both are 0 if the role may not see them; then `sees_all` is false.
    """

    lag_ms: int
    active_sessions: int
    sees_all: bool

    def find_problem(self, *, lag_s: float, sessions: int) -> str:
        """Say in words which bound is exceeded; empty if none is.  0 means no bound."""
        if lag_s and self.lag_ms > lag_s * 1000:
            return f"a standby is {self.lag_ms / 1000:.1f} s behind"
        if sessions and self.active_sessions > sessions:
            return counted(self.active_sessions, "active session")
        return ""


def read_health() -> DatabaseHealth:
    """Return the health of the database now."""
    return DatabaseHealth(*fetch_one(_HEALTH))
