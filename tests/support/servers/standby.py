"""A standby: a copy of a PostgreSQL that has every commit, and takes its place."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg2

from tests.support.patience import PATIENCE_S
from worker.local.servers.postgres import DATABASE, Postgres, _as_nobody

# From then on the primary answers no commit that the standby does not have.
SYNCHRONOUS = "ALTER SYSTEM SET synchronous_standby_names = '*'"
RELOAD = "SELECT pg_reload_conf()"
PROMOTE = "SELECT pg_promote()"
_FOLLOWED = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
# A commit waits until the standby has it, and so has every commit before it.
_COMMIT = "SELECT pg_current_xact_id()"


def copy_database(standby: Postgres, source: str, *, through: Sequence[str] = ()) -> None:
    """Copy the primary of this connection string; the standby follows it when it starts.

    `through` are words before the command, such as those that enter a network namespace.
    """
    standby.directory.mkdir(mode=0o700)
    if uid := standby.privileges().get("user"):
        os.chown(standby.directory, uid, uid)
    arguments = ["-D", str(standby.directory), "-R", "-X", "stream", "-c", "fast", "-d", source]
    subprocess.run(
        [*through, *_as_nobody(), str(standby.binaries / "pg_basebackup"), *arguments],
        check=True,
        capture_output=True,
        **standby.privileges(),
    )


class Pair:
    """The database at two ports: a server at one, and room for the one that takes its place at the other."""

    def __init__(self, primary: Postgres, directory: Path, other_port: int) -> None:
        self.primary, self._directory, self._free_port = primary, directory, other_port
        self._born = 0

    @property
    def url(self) -> str:
        """Both ports; a client takes the one that accepts writes."""
        ports = f"{self.primary.port},{self._free_port}"
        hosts = "127.0.0.1,127.0.0.1"
        return f"postgresql://dredge@/{DATABASE}?host={hosts}&port={ports}&target_session_attrs=read-write"

    def fail_over(self) -> tuple[Postgres, float, float]:
        """Kill the primary after a standby has every commit, and promote that.

        Returns the new primary, and from when to when there was none.
        """
        self._born += 1
        old = self.primary
        directory = self._directory / f"standby{self._born}"
        standby = Postgres(directory, port=self._free_port, durable=True, doomed=directory)
        copy_database(standby, f"host=127.0.0.1 port={old.port} user=dredge")
        standby.start()
        ask(SYNCHRONOUS, old.url)
        ask(RELOAD, old.url)
        deadline = time.monotonic() + PATIENCE_S
        while ask(_FOLLOWED, old.url) != [(1,)]:
            assert time.monotonic() < deadline, "the standby does not follow"
            time.sleep(0.05)
        ask(_COMMIT, old.url)
        begin = time.time()
        old.kill()
        ask(PROMOTE, standby.url)
        end = time.time()
        self.primary, self._free_port = standby, old.port
        shutil.rmtree(old.directory)
        return standby, begin, end


def ask(sql: str, dsn: str = "", **where: Any) -> list[Any]:
    """Run one statement of an administrator, in a transaction of its own."""
    connection = psycopg2.connect(dsn, **where)
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
