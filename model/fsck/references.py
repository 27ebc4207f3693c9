"""Dangling references: every foreign key of the schema, checked without trusting the catalogue.

PostgreSQL guarantees most of these, but not after a restored backup or a bulk load without triggers.  The
duplicate columns (`repository_id`) have no foreign keys at all.
"""

from __future__ import annotations

from typing import Any

from peewee import ForeignKeyField

from model.db.connection import fetch
from model.db.tables import REGISTRY_TABLES
from model.fsck.check import Check

RESTORE = "Restore the missing row, or delete the dangling one by hand: no tool can know which is right."

SAME_REPOSITORY = (
    ("tag", "manifest_id", "manifest"),
    ("manifestchild", "manifest_id", "manifest"),
    ("manifestchild", "child_manifest_id", "manifest"),
    ("manifestblob", "manifest_id", "manifest"),
    ("manifestlabel", "manifest_id", "manifest"),
    ("manifestsecuritystatus", "manifest_id", "manifest"),
)


def find_reference_checks() -> list[Check]:
    """Return a check for each foreign key of this database, and for each duplicate `repository_id`."""
    present = {row.relname for row in fetch(_PRESENT)}
    dangling = [
        _dangling(meta.table_name, field.column_name, field.rel_model._meta.table_name)
        for meta in (_meta(model) for model in REGISTRY_TABLES)
        for field in meta.sorted_fields
        if isinstance(field, ForeignKeyField)
        and {meta.table_name, field.rel_model._meta.table_name} <= present
    ]
    return dangling + [_other_repository(*doubled) for doubled in SAME_REPOSITORY]


_PRESENT = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"


def _meta(model: Any) -> Any:
    return model._meta


def _dangling(table: str, column: str, target: str) -> Check:
    return Check(
        f"dangling-{table}-{column.removesuffix('_id')}",
        "violation",
        f"{table}.{column} names a row of {target} that does not exist",
        RESTORE,
        f"""
        SELECT '{table} ' || source.id || ' -> {target} ' || source.{column} FROM "{table}" AS source
        LEFT JOIN "{target}" AS target ON target.id = source.{column}
        WHERE source.{column} IS NOT NULL AND target.id IS NULL
        """,
    )


def _other_repository(table: str, column: str, target: str) -> Check:
    return Check(
        f"foreign-{table}-{column.removesuffix('_id')}",
        "violation",
        f"{table}.{column} names a {target} of another repository",
        "Everything is per repository: find out what wrote the row, then delete it and push the image again.",
        f"""
        SELECT '{table} ' || source.id || ' -> {target} ' || target.id FROM "{table}" AS source
        JOIN {target} AS target ON target.id = source.{column}
        WHERE target.repository_id <> source.repository_id
        """,
    )
