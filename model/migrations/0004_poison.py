"""Add the items that a stage has set aside, and the places that running pushes will write to.

Workers of the previous version read neither table: they retry a failing row at once, as before.
"""

from peewee import Database
from playhouse.migrate import SchemaMigrator

TABLES = """
CREATE TABLE dredge_poison (
    stage varchar(16) NOT NULL,
    key text NOT NULL,
    created_ms bigint NOT NULL,
    due_ms bigint NOT NULL,
    tries integer NOT NULL,
    last_error text NOT NULL,
    PRIMARY KEY (stage, key)
);

CREATE TABLE dredge_push (
    blob_id integer NOT NULL,
    location varchar(255) NOT NULL,
    created_ms bigint NOT NULL,
    PRIMARY KEY (blob_id, location)
);
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(TABLES)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP TABLE dredge_poison, dredge_push")  # type: ignore[no-untyped-call]
