"""A database that tests use one after the other: emptied after each, given up when one changed its tables."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg2

# After so many tests, or with more bytes in its tables, a new copy of the template is cheaper.
_TESTS = 200
_LARGEST = 4 * 1024**2

_CATALOGUES = (
    *("pg_class", "pg_attribute", "pg_attrdef", "pg_constraint", "pg_index", "pg_inherits", "pg_type"),
    *("pg_proc", "pg_trigger", "pg_rewrite", "pg_policy", "pg_namespace", "pg_sequence", "pg_collation"),
    *("pg_statistic", "pg_statistic_ext", "pg_extension", "pg_event_trigger", "pg_default_acl"),
    *("pg_publication", "pg_largeobject_metadata", "pg_seclabel"),
    "pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
)


class Clone:
    """A copy of the template with a session of its superuser, which the factories of a test use as well.

    The session lives as long as the copy: most of a short test's time is what a new session reads about
    the tables.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = self._connect()
        self._tests = 0
        self._sequences = self._rows(_SEQUENCES)
        self._sizes = dict(self._rows(_SIZES))
        self._since = self._now()
        self._counts = self._count_rows()

    def close(self) -> None:
        """Close the session."""
        self.session.close()

    def empty(self) -> bool:
        """Remove what a test left.  Returns whether the database is as it was made; if not, drop it.

        Ends all other sessions.  A changed table, setting or statistic, a changed row of the template, and
        large tables are not mended.
        """
        self._tests += 1
        try:
            self._take_back()
            return self._tests < _TESTS and self._mend()
        except psycopg2.Error:
            return False

    def _take_back(self) -> None:
        """Make the session as new, or connect again if the test has ended it; end all others."""
        with suppress(psycopg2.Error):
            self.session.rollback()
        try:
            self.session.autocommit = True
            self._rows("DISCARD ALL")
        except psycopg2.Error:
            self.session = self._connect()
        self._rows(_END_OTHERS)

    def _mend(self) -> bool:
        sizes, counts = dict(self._rows(_SIZES)), self._count_rows()
        changed = [name for name, (old, _) in counts.items() if old != self._counts[name][0]]
        added = [name for name, (_, new) in counts.items() if new]
        # Only lookup tables may have more rows, catalogues not.
        if changed or set(added) - self._sizes.keys() or sum(sizes.values()) > _LARGEST:
            return False
        emptied = sorted(sizes.keys() - self._sizes.keys())
        if added or emptied:
            self._delete_rows([*added, *emptied])
        for oid, value, called in set(self._sequences) - set(self._rows(_SEQUENCES)):
            self._rows("SELECT setval(%s::oid::regclass, %s, %s)", (oid, value, called))
        self._since = self._now()
        return not any(size for (size,) in self._rows(_SIZES_OF, (emptied,)))

    def _delete_rows(self, tables: list[str]) -> None:
        deletes = [f"DELETE FROM {table} WHERE {self._is_new};" for table in tables]
        self._rows(f"BEGIN; SET LOCAL session_replication_role = replica; {''.join(deletes)} COMMIT")
        self._rows(f"VACUUM (INDEX_CLEANUP ON) {', '.join(tables)}")
        self._rows("SELECT pg_stat_force_next_flush()")
        self._rows(_FORGET)

    def _count_rows(self) -> dict[str, tuple[int, int]]:
        """Count the rows of catalogues and lookup tables: those that the template had, and the others."""
        found = self._rows(
            " UNION ALL ".join(
                f"SELECT '{table.split()[0]}', count(*), count(*) FILTER (WHERE {self._is_new}) FROM {table}"
                for table in (*_CATALOGUES, *self._sizes)
            )
        )
        return {name: (count - new, new) for name, count, new in found}

    @property
    def _is_new(self) -> str:
        return f"(age(xmin) < age('{self._since}'::xid))"

    def _now(self) -> str:
        return str(self._rows("SELECT pg_current_xact_id()::xid::text")[0][0])

    def _connect(self) -> Any:
        made = psycopg2.connect(self.url)
        made.autocommit = True
        return made

    def _rows(self, statement: str, params: Any = None) -> list[tuple[Any, ...]]:
        with self.session.cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []


_END_OTHERS = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""

_SIZES = """
SELECT oid::regclass::text, pg_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND oid >= 16384 AND pg_relation_size(oid) > 0
"""

_SIZES_OF = "SELECT pg_relation_size(name) FROM unnest(%s::regclass[]) AS name"

_SEQUENCES = """
SELECT seqrelid::bigint, coalesce(pg_sequence_last_value(seqrelid), seqstart),
    pg_sequence_last_value(seqrelid) IS NOT NULL
FROM pg_sequence
"""

# A table that was never vacuumed is planned as if it had ten pages; VACUUM would make it an empty one.
_FORGET = """
UPDATE pg_class SET relpages = 0, relallvisible = 0, reltuples = -1
WHERE relkind IN ('r', 't') AND reltuples >= 0 AND oid >= 16384;
UPDATE pg_class SET relpages = 1, reltuples = 0
WHERE relkind = 'i' AND (relpages, reltuples) <> (1, 0) AND oid >= 16384;
SELECT pg_stat_reset()
"""
