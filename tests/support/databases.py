"""Fresh databases in milliseconds: clones of one migrated template."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from model.db import connection as database
from model.db import schema

_MEMORY = Path("/dev/shm")
_ENOUGH = 2 * 1024**3


def memory() -> Path | None:
    """Where files are in memory, if there is plenty: a clone there takes 20 ms, else 120 ms."""
    plenty = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH
    return _MEMORY if plenty else None


class Databases:
    """Makes and drops databases: `fresh()` an empty registry, `empty()` no table at all."""

    def __init__(self, url: str) -> None:
        self.server = url.rpartition("/")[0]
        self._admin = psycopg2.connect(f"{self.server}/postgres")
        self._admin.autocommit = True
        self._numbers = itertools.count(1)
        self._template = ""

    def empty(self) -> str:
        """A database without tables."""
        return self._create("template1")

    def fresh(self) -> str:
        """A database as `dredge init` leaves it."""
        if not self._template:
            template = self.empty()
            with self.configured(template):
                schema.create()
            self._template = template.rpartition("/")[2]
        return self._create(self._template)

    def drop(self, url: str) -> None:
        """Drop it, whoever is still connected."""
        self._execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    @contextmanager
    def configured(self, url: str) -> Iterator[str]:
        """Point `model.db.connection` at it for the block."""
        database.configure(url)
        try:
            yield url
        finally:
            database.db.close_all()

    @contextmanager
    def clone(self) -> Iterator[str]:
        """A fresh database for the block, configured and dropped at its end: for hypothesis examples."""
        url = self.fresh()
        try:
            with self.configured(url):
                yield url
        finally:
            self.drop(url)

    def close(self) -> None:
        """Close the connection of the administrator."""
        self._admin.close()

    def _create(self, template: str) -> str:
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return f"{self.server}/{name}"

    def _execute(self, sql: str) -> None:
        with self._admin.cursor() as cursor:
            cursor.execute(sql)
