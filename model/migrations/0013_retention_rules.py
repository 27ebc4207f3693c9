"""Add retention rules that are stored in the database."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

TABLES = """
CREATE TABLE dredge_retention_rule (
    name varchar(255) PRIMARY KEY,
    rule text NOT NULL,
    author text NOT NULL,
    changed_ms bigint NOT NULL
);
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(TABLES)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP TABLE dredge_retention_rule")  # type: ignore[no-untyped-call]
