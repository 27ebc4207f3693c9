"""PgBouncer in transaction mode, in front of the session's PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from worker.local.servers.base import Server

_CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={postgres} user=dredge
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
"""


class PgBouncer(Server):
    """PgBouncer that gives each transaction one of `size` sessions of the server."""

    name = "PgBouncer"

    def __init__(self, directory: Path, *, postgres: int, size: int = 2) -> None:
        self._program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if not self._program:
            pytest.skip("pgbouncer is not installed")
        super().__init__(directory)
        self._postgres, self._size = postgres, size

    def command(self) -> list[str]:
        path = self.directory / "pgbouncer.ini"
        path.write_text(_CONFIGURATION.format(postgres=self._postgres, port=self.port, size=self._size))
        as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
        return [self._program or "", *as_nobody, str(path)]

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def url(self, database_url: str) -> str:
        """Return the URL of the same database behind the pooler."""
        return f"postgresql://dredge@127.0.0.1:{self.port}/{database_url.rpartition('/')[2]}"
