"""Create the tables, and list what does not fit.  An empty database gets all tables, a Quay's database only
`dredge_*`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import peewee
from playhouse.migrations import Runner

from model.db import introspection, lookup_rows
from model.db.connection import db, execute, fetch, fetch_one, lift_statement_timeout, transaction
from model.db.tables import OWN_TABLES, REGISTRY_TABLES
from model.errors import SchemaMismatch
from model.human import counted

MIGRATIONS = Path(__file__).parent.parent / "migrations"
HISTORY_TABLE = "dredge_migration"

# A registry has all of these tables.  A database with only some of them is neither empty nor a registry.
CORE = frozenset({"user", "repository", "manifest", "manifestblob", "tag", "imagestorage"})

# Newer Quay versions have dropped this table; without it there are no restrictions.
OPTIONAL = frozenset({"namespacegeorestriction"})

# Collections delete rows of these tables, and an unknown foreign key to one of them would make that fail.
# (A purge reads the references to a repository from the database.)
COLLECTED = frozenset({"manifest", "tag", "imagestorage", "label", "uploadedblob", "blobupload"})

# Without an index that begins with these columns, a batch would read the whole table.
RELIED_INDEXES = (
    ("tag", ("repository_id", "lifetime_end_ms")),
    ("tag", ("manifest_id",)),
    ("tag", ("linked_tag_id",)),
    ("manifest", ("repository_id", "digest")),
    ("manifest", ("repository_id", "subject")),
    ("manifestblob", ("manifest_id",)),
    ("manifestblob", ("blob_id",)),
    ("manifestchild", ("manifest_id",)),
    ("manifestchild", ("child_manifest_id",)),
    ("manifestlabel", ("manifest_id",)),
    ("manifestlabel", ("label_id",)),
    ("manifestsecuritystatus", ("manifest_id",)),
    ("tagnotificationsuccess", ("tag_id",)),
    ("imagestorage", ("content_checksum",)),
    ("imagestorageplacement", ("storage_id",)),
    ("imagestoragesignature", ("storage_id",)),
    ("uploadedblob", ("blob_id",)),
    ("uploadedblob", ("expires_at",)),
    ("blobupload", ("created",)),
)


@dataclass(frozen=True)
class Prepared:
    """What `create` found and did.  Its truth value says whether it changed something."""

    found: Literal["empty", "registry"]
    tables: tuple[str, ...]
    lookup_rows: int
    migrations: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.tables or self.lookup_rows or self.migrations)


def create(*, beside_others: bool = False) -> Prepared:
    """Create what is missing: all tables and lookup rows in an empty database, else only `dredge_*` tables.

    Runs one transaction under an advisory lock: two calls at once do the work once, and a crash leaves
    no half of it.  Never changes a table of the registry.  Idempotent.
    Raises `SchemaMismatch` if the database has only a part of a registry, or tables of another
    application (unless `beside_others`).
    """
    with transaction():
        lift_statement_timeout()
        execute("SET LOCAL lock_timeout = '10min'")
        fetch("SELECT pg_advisory_xact_lock(hashtext('dredge.schema'))")
        # From here on the short lock timeout again: pushes must not queue behind our wait for a table.
        execute("SET LOCAL lock_timeout = '10s'")
        existing = introspection.find_tables()
        found = _recognise(existing)
        if found == "empty" and not beside_others:
            _refuse_others(existing)
        rows = 0
        if found == "empty":
            for model in REGISTRY_TABLES:
                model.create_table(safe=False)
            rows = lookup_rows.insert_missing()
        applied = tuple(_runner().up())
        made = tuple(sorted(introspection.find_tables() - existing))
    return Prepared(found, made, rows, applied)


def pending_migrations() -> list[str]:
    """Return the names of the migrations that this database still needs, in order; only reads."""
    return [step.name for step in _runner().status() if step.path and not step.applied]


def check() -> list[str]:
    """Return every problem of the database's schema, one sentence each; empty if there is none.

    Reads only the catalogue, in a constant number of statements.
    """
    tables = introspection.find_tables()
    if not tables & CORE:
        return ["The database has no registry's tables: run `dredge init`"]
    return [
        *_check_tables(tables),
        *_check_columns(introspection.find_columns()),
        *_check_indexes(tables, introspection.find_indexes()),
        *_check_references(introspection.find_references()),
        *_check_migrations(),
    ]


def _recognise(existing: set[str]) -> Literal["empty", "registry"]:
    if existing >= CORE:
        return "registry"
    taken = existing & {_name(model) for model in REGISTRY_TABLES}
    if taken:
        raise SchemaMismatch(
            f"The database has some of a registry's tables ({', '.join(sorted(taken))})"
            f" and lacks {', '.join(sorted(CORE - existing))}."
            " Use an empty database, or one that Quay has migrated"
        )
    return "empty"


def _refuse_others(existing: set[str]) -> None:
    """Raise `SchemaMismatch` in another application's schema: fifty tables are hard to remove again."""
    foreign = sorted(name for name in existing if not name.startswith("dredge_"))
    if foreign:
        raise SchemaMismatch(
            f"The database has {counted(len(foreign), 'table')} of another application"
            f" ({', '.join(foreign[:3])}, …):"
            " use an empty one, or `dredge init --yes`"
        )


def _check_tables(tables: set[str]) -> Iterator[str]:
    for model in REGISTRY_TABLES:
        if _name(model) not in tables | OPTIONAL:
            yield f"The table {_name(model)} is missing: migrate Quay to a version that has it"


def _check_columns(found: dict[str, dict[str, introspection.Column]]) -> Iterator[str]:
    for model in (*REGISTRY_TABLES, *OWN_TABLES):
        present = found.get(_name(model))
        if present is None:
            continue
        expected = {field.column_name: field for field in model._meta.sorted_fields}
        for name, field in expected.items():
            yield from _check_column(f"{_name(model)}.{name}", field, present.get(name))
        for name, column in present.items():
            if name not in expected and not (column.nullable or column.has_default):
                yield f"The column {_name(model)}.{name} is unknown and must have a value: inserts will fail"


def _check_column(where: str, field: Any, column: introspection.Column | None) -> Iterator[str]:
    if column is None:
        yield f"The column {where} is missing"
        return
    if column.type != _type(field):
        yield f"The column {where} is {column.type} and should be {_type(field)}"
    if field.null and not column.nullable:
        yield f"The column {where} must have a value and should not need one"


def _check_indexes(tables: set[str], found: dict[str, list[introspection.Index]]) -> Iterator[str]:
    for table, columns in RELIED_INDEXES:
        indexes = [index for index in found.get(table, ()) if not index.partial]
        if table in tables and not any(index.columns[: len(columns)] == columns for index in indexes):
            yield f"There is no index on {table} ({', '.join(columns)}): collections will be slow"
    for model in REGISTRY_TABLES:
        unique = {frozenset(index.columns) for index in found.get(_name(model), ()) if index.unique}
        for wanted in _unique_columns(model):
            if _name(model) in tables and frozenset(wanted) not in unique:
                yield f"There is no unique index on {_name(model)} ({', '.join(wanted)})"


def _check_references(found: set[introspection.Reference]) -> Iterator[str]:
    known = {(_name(model), field.column_name) for model in REGISTRY_TABLES for field in model._meta.refs}
    for table, column, target in sorted(found):
        if target in COLLECTED and (table, column) not in known:
            yield f"{table}.{column} refers to {target} and is unknown: its rows will stop collections"


def _check_migrations() -> Iterator[str]:
    for step in _runner().status():
        if step.path and not step.applied:
            yield f"The migration {step.name} has not been applied: run `dredge init`"
        elif not step.path:
            yield f"The migration {step.name} is unknown: update this dredge, a newer one was here"


def _name(model: Any) -> str:
    return str(model._meta.table_name)


def _type(field: Any) -> str:
    """Return the type in PostgreSQL's words."""
    if isinstance(field, peewee.ForeignKeyField):
        return _type(field.rel_field)
    if isinstance(field, peewee.CharField):
        return f"character varying({field.max_length})"
    kinds = {
        "AUTO": "integer",
        "INT": "integer",
        "BIGAUTO": "bigint",
        "BIGINT": "bigint",
        "BLOB": "bytea",
        "BOOL": "boolean",
        "DATETIME": "timestamp without time zone",
        "TEXT": "text",
    }
    return kinds[field.field_type]


def _unique_columns(model: Any) -> Iterator[tuple[str, ...]]:
    for field in model._meta.sorted_fields:
        if field.unique and not field.primary_key:
            yield (field.column_name,)
    for names, unique in model._meta.indexes:
        if unique:
            yield tuple(model._meta.fields[name].column_name for name in names)


def _runner() -> Any:
    schema = fetch_one("SELECT current_schema() AS name").name
    return Runner(db.obj, str(MIGRATIONS), table_name=HISTORY_TABLE, schema=schema)
