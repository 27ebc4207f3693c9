"""What all tables share."""

from __future__ import annotations

from typing import Any

from peewee import SQL, ForeignKeyField, Model, Node

from model.db.connection import db


def _table_name(model: type[Model]) -> str:
    return str(model.__name__).lower()


class BaseModel(Model):
    """A table of Quay's schema: column names, types and unique indexes are fixed facts."""

    class Meta:
        database = db
        table_function = _table_name


def default(literal: str) -> list[Node]:
    """Column constraints for a server-side default."""
    return [SQL(f"DEFAULT {literal}")]


def reference(to: Any, column: str, **options: Any) -> Any:
    """A foreign key without a back-reference: joins are written where they are used."""
    return ForeignKeyField(to, column_name=column, backref="+", **options)
