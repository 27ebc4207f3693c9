"""Add the last visit of each repository, tags ended by rules, warnings of expiry, and digests in use."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

TABLES = """
CREATE TABLE dredge_retention (
    repository_id integer PRIMARY KEY,
    last_ran_ms bigint NOT NULL,
    problems text
);

CREATE TABLE dredge_ended_tag (
    id bigserial PRIMARY KEY,
    repository_id integer NOT NULL,
    tag varchar(255) NOT NULL,
    digest varchar(255) NOT NULL,
    rule text NOT NULL,
    author text NOT NULL,
    ended_ms bigint NOT NULL,
    restorable_until_ms bigint NOT NULL
);
CREATE INDEX dredge_ended_tag_repository ON dredge_ended_tag (repository_id, id);
CREATE INDEX dredge_ended_tag_ended ON dredge_ended_tag (ended_ms);

CREATE TABLE dredge_expiry_warning (
    tag_id integer NOT NULL,
    end_ms bigint NOT NULL,
    PRIMARY KEY (tag_id, end_ms)
);

CREATE TABLE dredge_in_use (
    digest varchar(255) PRIMARY KEY
);
"""

NAMES = ("dredge_retention", "dredge_ended_tag", "dredge_expiry_warning", "dredge_in_use")


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(TABLES)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP TABLE " + ", ".join(NAMES))  # type: ignore[no-untyped-call]
