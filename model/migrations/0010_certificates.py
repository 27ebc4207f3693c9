"""Add certificates, which record what each batch deleted and why; mark the history that has one."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

# Digests are random bytes, which compression does not make smaller.
TABLES = """
CREATE TABLE dredge_certificate (
    id bigserial PRIMARY KEY,
    finished_ms bigint NOT NULL,
    body text NOT NULL,
    digests bytea NOT NULL,
    sum bytea NOT NULL
);
ALTER TABLE dredge_certificate ALTER COLUMN digests SET STORAGE EXTERNAL;
CREATE INDEX dredge_certificate_finished ON dredge_certificate (finished_ms);

ALTER TABLE dredge_collection ADD COLUMN certified boolean NOT NULL DEFAULT false;
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(TABLES)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP TABLE dredge_certificate")  # type: ignore[no-untyped-call]
    db.execute_sql("ALTER TABLE dredge_collection DROP COLUMN certified")  # type: ignore[no-untyped-call]
