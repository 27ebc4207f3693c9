"""Add what operators set and collections obey (holds, breakers, limits), and leases of background work."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

TABLES = """
CREATE TABLE dredge_hold (
    namespace_id integer NOT NULL,
    repository_id integer NOT NULL,
    reason text NOT NULL,
    author text NOT NULL,
    created_ms bigint NOT NULL,
    until_ms bigint,
    PRIMARY KEY (namespace_id, repository_id)
);

CREATE TABLE dredge_breaker (
    namespace_id integer PRIMARY KEY,
    window_ms bigint NOT NULL,
    valid_until_ms bigint NOT NULL DEFAULT 0,
    due_manifests bigint NOT NULL DEFAULT 0,
    manifests bigint NOT NULL DEFAULT 0,
    opened_ms bigint,
    reason text,
    approved_ms bigint NOT NULL DEFAULT 0,
    approved_by text
);

CREATE TABLE dredge_limit (
    name varchar(32) PRIMARY KEY,
    free_ms bigint NOT NULL
);

CREATE TABLE dredge_lease (
    name varchar(64) PRIMARY KEY,
    holder text NOT NULL,
    until_ms bigint NOT NULL
);
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(TABLES)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP TABLE dredge_hold, dredge_breaker, dredge_limit, dredge_lease")  # type: ignore[no-untyped-call]
