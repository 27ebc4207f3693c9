"""Servers and registries for benchmarks.  Contenders run on identical clones, each in its own process."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import psycopg2

from bench.bulk import without_indexes
from bench.wide import Wide
from model.db import connection as database
from model.db import schema
from worker.local.embedded import EmbeddedServers
from worker.local.sample import Shape, fill

Result = TypeVar("Result")
# The content of a template: samples one after another, or a wide registry.
Content = Shape | tuple[Shape, ...] | Wide | None

# No autovacuum, which would run for one contender and not for another.
_SETTINGS = ("autovacuum = off", "checkpoint_timeout = '1h'", "max_wal_size = '8GB'")

# Above this number it is faster to build the indexes again.
_MANY = 50_000


_postgres: Path | None = None


def choose_postgres(binaries: Path) -> None:
    """Make every later lab run the PostgreSQL of this directory instead of the embedded one."""
    global _postgres
    _postgres = binaries


class Lab:
    """Embedded servers with template databases; use it as a context."""

    def __init__(self, *, valkey: bool = False, autovacuum: bool = False) -> None:
        self.servers = EmbeddedServers(valkey=valkey)
        if _postgres is not None and self.servers.postgres is not None:
            self.servers.postgres.binaries = _postgres
        self._autovacuum = autovacuum
        self._templates: dict[Content, str] = {}
        self._clones = 0

    def __enter__(self) -> Lab:
        self.servers.start()
        self.server = self.servers.database_url.rpartition("/")[0]
        self._admin = psycopg2.connect(f"{self.server}/postgres")
        self._admin.autocommit = True
        for setting in _SETTINGS[self._autovacuum :]:
            self._do(f"ALTER SYSTEM SET {setting}")
        self._do("SELECT pg_reload_conf()")
        return self

    def __exit__(self, *_: object) -> None:
        self._admin.close()
        self.servers.stop()

    def _do(self, sql: str) -> None:
        with self._admin.cursor() as cursor:
            cursor.execute(sql)

    def template(self, shape: Content) -> str:
        """Return a database filled once with this shape (None: no sample), vacuumed and analysed."""
        if shape not in self._templates:
            name = f"template_{len(self._templates)}"
            self._do(f"CREATE DATABASE {name}")
            with configured(f"{self.server}/{name}"):
                schema.create()
                _load(shape)
            vacuum(f"{self.server}/{name}")
            self._templates[shape] = name
        return self._templates[shape]

    @contextmanager
    def clone(self, shape: Content) -> Iterator[str]:
        """Yield the URL of a fresh copy of the template, written to disk; it is dropped at the end."""
        template = self.template(shape)
        self._clones += 1
        name = f"clone_{self._clones}"
        self._do(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        self._do("CHECKPOINT")
        try:
            yield f"{self.server}/{name}"
        finally:
            self._do(f"DROP DATABASE {name} WITH (FORCE)")


def _load(shape: Content) -> None:
    if isinstance(shape, Wide):
        shape.load()
        return
    shapes = (shape,) if isinstance(shape, Shape) else shape or ()
    with without_indexes() if any(part.manifests >= _MANY for part in shapes) else nullcontext():
        for part in shapes:
            fill(part)


def vacuum(url: str) -> None:
    """Set every hint bit and gather statistics, so that no contender pays for the load."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        connection.cursor().execute("VACUUM (FREEZE, ANALYZE)")
    finally:
        connection.close()


@contextmanager
def configured(url: str, *, keys: bool = True) -> Iterator[None]:
    """Configure `model.db.connection` with this URL, and hold one connection; `keys`: check foreign keys."""
    database.configure(url, application_name="bench")
    try:
        with database.connection():
            if not keys:
                database.execute("SET session_replication_role = replica")
            yield
    finally:
        database.db.close_all()


def plain_planner() -> None:
    """Connect for a contender other than Dredge, with the server's default planning."""
    for scan in ("seqscan", "bitmapscan"):
        database.execute(f"SET enable_{scan} = on")
    database.execute("SET plan_cache_mode = auto")


def isolated(function: Callable[..., Result], *args: Any) -> Result:
    """Run the function in a fresh process, with its own memory and caches."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *args).result()


def peak_rss_mb() -> float:
    """Return the peak memory of this process, in MB."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage / (1024 * 1024 if sys.platform == "darwin" else 1024)
