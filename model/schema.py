"""Making the tables: everything on an empty database, only `dredge_*` beside a Quay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playhouse.migrations import Runner

from model import lookups
from model.database import db, fetch, transaction
from model.errors import SchemaMismatch
from model.tables import REGISTRY_TABLES

MIGRATIONS = Path(__file__).parent / "migrations"
HISTORY_TABLE = "dredge_migration"

# A registry is recognised by these; a database with some of them only is neither empty nor a registry.
CORE = frozenset({"user", "repository", "manifest", "manifestblob", "tag", "imagestorage"})


@dataclass(frozen=True)
class Prepared:
    """What `create` found, and what it did."""

    found: Literal["empty", "registry"]
    tables: tuple[str, ...]
    lookup_rows: int
    migrations: tuple[str, ...]

    def __bool__(self) -> bool:
        """True when something was changed."""
        return bool(self.tables or self.lookup_rows or self.migrations)


def create() -> Prepared:
    """Create what is missing: all tables and lookup rows in an empty database, else only our own tables.

    One transaction under an advisory lock: two that run at once do the work once, and a crash
    leaves nothing half-made.  Never changes a table that is there; again changes nothing.
    Raises `SchemaMismatch` on a database that holds only a part of a registry.
    """
    with transaction():
        fetch("SELECT pg_advisory_xact_lock(hashtext('dredge.schema'))")
        existing = find_tables()
        found = _recognise(existing)
        made: tuple[str, ...] = ()
        rows = 0
        if found == "empty":
            made = _create_registry_tables()
            rows = lookups.insert_missing()
        applied = tuple(_runner().up())
        made += tuple(sorted(find_tables() - existing - set(made)))
    return Prepared(found, made, rows, applied)


def find_tables() -> set[str]:
    """Names of all tables of the current schema."""
    rows = fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"
    )
    return {row.relname for row in rows}


def pending_migrations() -> list[str]:
    """Names of the migrations that this version brings and this database has not had, in order."""
    return [step.name for step in _runner().status() if step.path and not step.applied]


def unknown_migrations() -> list[str]:
    """Names of migrations that a newer version has applied to this database."""
    return [step.name for step in _runner().status() if not step.path]


def _recognise(existing: set[str]) -> Literal["empty", "registry"]:
    if existing >= CORE:
        return "registry"
    taken = existing & {model._meta.table_name for model in REGISTRY_TABLES}
    if taken:
        missing = ", ".join(sorted(CORE - existing))
        raise SchemaMismatch(
            f"The database has some of the registry's tables ({', '.join(sorted(taken))}) and lacks {missing}."
            " Use an empty database, or one that Quay has migrated."
        )
    return "empty"


def _create_registry_tables() -> tuple[str, ...]:
    for model in REGISTRY_TABLES:
        model.create_table(safe=False)
    return tuple(model._meta.table_name for model in REGISTRY_TABLES)


def _runner() -> Any:
    return Runner(db.obj, str(MIGRATIONS), table_name=HISTORY_TABLE)
