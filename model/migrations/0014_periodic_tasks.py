"""Add the last end of each periodic task, so that a late one is noticed and sent again."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

TABLES = """
CREATE TABLE dredge_periodic_task (
    name text PRIMARY KEY,
    interval_ms bigint NOT NULL,
    since_ms bigint NOT NULL,
    ended_ms bigint,
    sent_ms bigint NOT NULL DEFAULT 0
);
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(TABLES)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP TABLE dredge_periodic_task")  # type: ignore[no-untyped-call]
