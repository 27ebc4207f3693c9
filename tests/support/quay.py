"""Create every table of a current Quay from `data/registry_schema.json`.

The file has each table's columns as [name, type, nullable, default], its unique constraints, its foreign
keys and, for the tables that Dredge uses, its plain indexes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg2

FACTS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data/registry_schema.json").read_text()
)


def create_quay_tables(url: str) -> None:
    """Create all tables of a current Quay in an empty database, with their constraints and indexes."""
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        for table, facts in FACTS.items():
            columns = ", ".join(_column(*column) for column in facts["columns"])
            cursor.execute(f'CREATE TABLE "{table}" ({columns})')
        for table, facts in FACTS.items():
            for statement in _constraints(table, facts):
                cursor.execute(statement)
    connection.close()


def _column(name: str, type: str, nullable: bool, default: str | None = None) -> str:
    if name == "id":
        return f"id {'bigserial' if type == 'bigint' else 'serial'} PRIMARY KEY"
    literal = f" DEFAULT {default}" if default else ""
    return f'"{name}" {type}{"" if nullable else " NOT NULL"}{literal}'


def _constraints(table: str, facts: dict[str, Any]) -> list[str]:
    made = []
    for number, columns in enumerate(facts["unique"]):
        names = ", ".join(columns)
        made.append(f'CREATE UNIQUE INDEX "{table}_unique_{number}" ON "{table}" ({names})')
    for number, columns in enumerate(facts["indexes"]):
        # Quay's index on the description needs an extension, for trigrams.
        if columns != ["description"]:
            made.append(f'CREATE INDEX "{table}_index_{number}" ON "{table}" ({", ".join(columns)})')
    for column, target in facts["references"]:
        made.append(f'ALTER TABLE "{table}" ADD FOREIGN KEY ("{column}") REFERENCES "{target}" (id)')
    return made
