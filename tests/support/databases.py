"""Databases for tests: copies of one migrated template, used again as long as they can be emptied."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from model.db import connection as database
from model.db import schema
from tests.support.clone import Clone

_MEMORY = Path("/dev/shm")
_ENOUGH = 2 * 1024**3


def memory() -> Path | None:
    """Return a directory in memory if there is enough memory: a clone takes 20 ms there, else 120 ms."""
    plenty = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH
    return _MEMORY if plenty else None


class Databases:
    """Creates and drops databases: `fresh()` has an empty registry, `empty()` has no tables."""

    def __init__(self, url: str) -> None:
        self.server = url.rpartition("/")[0]
        self._admin = psycopg2.connect(f"{self.server}/postgres")
        self._admin.autocommit = True
        self._numbers = itertools.count(1)
        self._template = ""
        self._spare: list[Clone] = []
        self._used: dict[str, Clone] = {}

    def empty(self) -> str:
        """Create a database without tables."""
        return self._create("template1")

    def fresh(self) -> str:
        """Create a database with the tables of `dredge init`."""
        if not self._template:
            template = self.empty()
            with self.configured(template):
                schema.create()
            self._template = template.rpartition("/")[2]
        return self._create(self._template)

    def drop(self, url: str) -> None:
        """Drop the database, and end its connections."""
        self._execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    @contextmanager
    def configured(self, url: str) -> Iterator[str]:
        """Configure `model.db.connection` with the database for the block."""
        database.configure(url)
        try:
            yield url
        finally:
            database.db.close_all()

    @contextmanager
    def clone(self) -> Iterator[str]:
        """Configure a database for the block: one that was emptied after another block, or a fresh one."""
        clone = self._spare.pop() if self._spare else Clone(self.fresh())
        self._used[clone.url] = clone
        try:
            with self.configured(clone.url):
                yield clone.url
        finally:
            del self._used[clone.url]
            if clone.empty():
                self._spare.append(clone)
            else:
                self._give_up(clone)

    def session(self, url: str) -> Any:
        """Return the session of a clone in use, which knows the tables already; in autocommit mode."""
        return self._used[url].session

    def drop_spare(self) -> None:
        """Drop the databases that wait for another block, so that the next is a fresh one."""
        while self._spare:
            self._give_up(self._spare.pop())

    def close(self) -> None:
        """Close the connections."""
        for clone in self._spare:
            clone.close()
        self._admin.close()

    def _give_up(self, clone: Clone) -> None:
        clone.close()
        self.drop(clone.url)

    def _create(self, template: str) -> str:
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return f"{self.server}/{name}"

    def _execute(self, sql: str) -> None:
        with self._admin.cursor() as cursor:
            cursor.execute(sql)
