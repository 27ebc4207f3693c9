"""What PostgreSQL's catalogue says about the tables of the current schema.  Only reads."""

from __future__ import annotations

from typing import NamedTuple

from model.db.connection import fetch, fetch_one


class Column(NamedTuple):
    """A column in the catalogue's words: `type` is, for example, `character varying(255)`."""

    type: str
    nullable: bool
    has_default: bool


class Index(NamedTuple):
    """An index on plain columns; `partial` ones hold only some of the rows."""

    columns: tuple[str, ...]
    unique: bool
    partial: bool


class Reference(NamedTuple):
    """A foreign key: rows of `table` refer by `column` to rows of `target`."""

    table: str
    column: str
    target: str


_TABLES = """
SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')
    AND relnamespace = quote_ident(current_schema())::regnamespace
"""


def find_tables() -> set[str]:
    """Return the names of all tables."""
    rows = fetch(_TABLES)
    return {row.relname for row in rows}


def has_table(name: str) -> bool:
    """Return whether the table exists: those of Quay that Dredge does not create may be missing."""
    return bool(fetch_one("SELECT to_regclass(%s) IS NOT NULL AS there", (name,)).there)


_COLUMNS = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type,
    NOT a.attnotnull AS nullable, a.atthasdef OR a.attidentity <> '' AS has_default
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relkind IN ('r', 'p') AND c.relnamespace = quote_ident(current_schema())::regnamespace
    AND a.attnum > 0 AND NOT a.attisdropped ORDER BY c.relname, a.attnum
"""


def find_columns() -> dict[str, dict[str, Column]]:
    """Return the columns by table and name."""
    rows = fetch(_COLUMNS)
    found: dict[str, dict[str, Column]] = {}
    for row in rows:
        found.setdefault(row.relname, {})[row.attname] = Column(row.type, row.nullable, row.has_default)
    return found


_INDEXES = """
SELECT c.relname, i.indisunique, i.indpred IS NOT NULL AS partial,
    array_agg(coalesce(a.attname::text, '') ORDER BY k.n) AS columns
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
    CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, n)
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum AND k.attnum > 0
    WHERE c.relnamespace = quote_ident(current_schema())::regnamespace AND i.indisvalid
    AND k.n <= i.indnkeyatts
    GROUP BY i.indexrelid, c.relname, i.indisunique, partial ORDER BY i.indexrelid
"""


def find_indexes() -> dict[str, list[Index]]:
    """Return the valid indexes by table, with primary keys.  An expression has an empty name."""
    rows = fetch(_INDEXES)
    found: dict[str, list[Index]] = {}
    for row in rows:
        found.setdefault(row.relname, []).append(Index(tuple(row.columns), row.indisunique, row.partial))
    return found


def read_server_version() -> str:
    """Return the version that the server says."""
    return str(fetch_one("SELECT current_setting('server_version') AS version").version)


_REFERENCES = """
SELECT c.relname, a.attname, t.relname AS target FROM pg_constraint f
    JOIN pg_class c ON c.oid = f.conrelid JOIN pg_class t ON t.oid = f.confrelid
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (f.conkey)
    WHERE f.contype = 'f' AND t.relnamespace = quote_ident(current_schema())::regnamespace
"""


def find_references() -> set[Reference]:
    """Return every foreign key, one entry for each of its columns."""
    rows = fetch(_REFERENCES)
    return {Reference(row.relname, row.attname, row.target) for row in rows}
