"""Add what erasing in short requests needs: claims with a token, the trash, and each store's identity."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

UP = """
ALTER TABLE dredge_tombstone
    ADD COLUMN token bigint,
    ADD COLUMN set_aside boolean NOT NULL DEFAULT false;
CREATE INDEX dredge_tombstone_location_due ON dredge_tombstone (location, due_ms, id);
DROP INDEX dredge_tombstone_due;

CREATE TABLE dredge_quarantine (
    id bigint PRIMARY KEY,
    digest varchar(255),
    path text NOT NULL,
    location varchar(255) NOT NULL,
    trash text NOT NULL,
    version text NOT NULL DEFAULT '',
    size bigint NOT NULL,
    set_aside_ms bigint NOT NULL,
    look_ms bigint NOT NULL,
    purge_ms bigint NOT NULL,
    token bigint,
    tries integer NOT NULL DEFAULT 0,
    last_error text
);
CREATE INDEX dredge_quarantine_look ON dredge_quarantine (look_ms, id);
CREATE INDEX dredge_quarantine_digest ON dredge_quarantine (digest);

CREATE TABLE dredge_storage (
    location varchar(255) PRIMARY KEY,
    address text NOT NULL,
    identity varchar(64),
    problem text,
    problem_since_ms bigint
);
"""

DOWN = """
DROP TABLE dredge_storage;
DROP TABLE dredge_quarantine;
CREATE INDEX dredge_tombstone_due ON dredge_tombstone (due_ms, id);
DROP INDEX dredge_tombstone_location_due;
ALTER TABLE dredge_tombstone DROP COLUMN token, DROP COLUMN set_aside;
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(UP)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(DOWN)  # type: ignore[no-untyped-call]
