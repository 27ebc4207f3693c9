"""Run real PostgreSQL and Valkey servers as children of this process, from wheels or system packages.

Changes nothing else on the machine: creates no user, writes only in the given directory, and both servers
listen on 127.0.0.1 only.  If this process dies, a watchdog of each server stops it, and removes a temporary
directory.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from worker.local.servers.base import EmbeddedFailure, Server, free_port
from worker.local.servers.postgres import Postgres
from worker.local.servers.valkey import Valkey

__all__ = ["EmbeddedFailure", "EmbeddedServers", "Postgres", "Server", "Valkey", "free_port"]


class EmbeddedServers:
    """A PostgreSQL, a Valkey and a storage directory, below one directory.

    Without `directory` a temporary one is created (in `temporary_in`) and removed at the end.  `durable`
    writes as in production; the default is for tests and may lose data in a power cut.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        postgres: bool = True,
        valkey: bool = True,
        *,
        storage: bool = True,
        durable: bool = False,
        temporary_in: Path | None = None,
    ) -> None:
        self._temporary = directory is None
        self._storage = storage
        self.directory = Path(directory or tempfile.mkdtemp(prefix="dredge-", dir=temporary_in)).resolve()
        doomed = self.directory if self._temporary else None
        self.postgres = (
            Postgres(self.directory / "postgres", durable=durable, doomed=doomed) if postgres else None
        )
        self.valkey = Valkey(self.directory / "valkey", durable=durable, doomed=doomed) if valkey else None

    def start(self) -> EmbeddedServers:
        """Start the servers that are not running; stop all if one does not start.  Idempotent."""
        try:
            for server in filter(None, (self.valkey, self.postgres)):
                server.start()
            if self._storage:
                (self.directory / "storage").mkdir(parents=True, exist_ok=True)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop both servers cleanly and fast, and remove a temporary directory.  Idempotent."""
        for server in filter(None, (self.postgres, self.valkey)):
            server.stop()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> EmbeddedServers:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def database_url(self) -> str:
        """Return the URL of the database `dredge`, or an empty text without PostgreSQL."""
        return self.postgres.url if self.postgres else ""

    @property
    def broker_url(self) -> str:
        """Return the URL of the broker: Valkey's database 0."""
        return f"{self.valkey.url}/0" if self.valkey else ""

    @property
    def cache_url(self) -> str:
        """Return the URL of the cache: Valkey's database 1."""
        return f"{self.valkey.url}/1" if self.valkey else ""

    @property
    def storage_url(self) -> str:
        """Return the URL of the directory for objects, or an empty text without one."""
        return (self.directory / "storage").as_uri() if self._storage else ""

    def environment(self) -> dict[str, str]:
        """Return the `DREDGE_*` variables of these servers."""
        found = {
            "DREDGE_DATABASE_URL": self.database_url,
            "DREDGE_BROKER_URL": self.broker_url,
            "DREDGE_CACHE_URL": self.cache_url,
            "DREDGE_STORAGE": f"local_us={self.storage_url}" if self._storage else "",
        }
        return {name: value for name, value in found.items() if value}
