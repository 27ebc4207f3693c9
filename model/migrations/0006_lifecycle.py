"""Add the state of each purge of a deleted repository or namespace."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

TABLES = """
CREATE TABLE dredge_purge (
    kind varchar(16) NOT NULL,
    subject_id integer NOT NULL,
    state_before integer NOT NULL DEFAULT 0,
    started_ms bigint,
    tags integer NOT NULL DEFAULT 0,
    manifests integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    retry_ms bigint NOT NULL DEFAULT 0,
    last_error text,
    PRIMARY KEY (kind, subject_id)
);
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(TABLES)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP TABLE dredge_purge")  # type: ignore[no-untyped-call]
