"""What all tables share."""

from __future__ import annotations

from typing import Any

from peewee import SQL, ForeignKeyField, Model, Node

from model.database import db


class BaseModel(Model):
    """A table of Quay's schema: column names, types and unique indexes are fixed facts."""

    class Meta:
        database = db
        legacy_table_names = False


def default(literal: str) -> list[Node]:
    """Column constraints for a server-side default."""
    return [SQL(f"DEFAULT {literal}")]


def reference(to: Any, column: str, **options: Any) -> Any:
    """A foreign key without a back-reference: joins are written where they are used."""
    return ForeignKeyField(to, column_name=column, backref="+", **options)
