"""Create Dredge's own tables, which hold all work that must survive a crash.

No foreign key refers to the registry's tables: a Quay on the same database must be able to delete its rows.
"""

from peewee import Database
from playhouse.migrate import SchemaMigrator

TABLES = """
CREATE TABLE dredge_event (
    id bigserial PRIMARY KEY,
    event_id varchar(36) NOT NULL,
    type varchar(64) NOT NULL,
    repository_id integer,
    subject text NOT NULL,
    data text NOT NULL,
    created_ms bigint NOT NULL,
    published_ms bigint
);
CREATE INDEX dredge_event_unpublished ON dredge_event (id) WHERE published_ms IS NULL;
CREATE INDEX dredge_event_published ON dredge_event (published_ms) WHERE published_ms IS NOT NULL;

CREATE TABLE dredge_manifest_candidate (
    id bigserial PRIMARY KEY,
    repository_id integer NOT NULL,
    manifest_id integer NOT NULL,
    created_ms bigint NOT NULL,
    due_ms bigint NOT NULL DEFAULT 0
);
CREATE INDEX dredge_manifest_candidate_repository ON dredge_manifest_candidate (repository_id, id);
CREATE INDEX dredge_manifest_candidate_due ON dredge_manifest_candidate (due_ms);

CREATE TABLE dredge_blob_candidate (
    id bigserial PRIMARY KEY,
    blob_id integer NOT NULL,
    repository_id integer,
    created_ms bigint NOT NULL
);

CREATE TABLE dredge_tombstone (
    id bigserial PRIMARY KEY,
    digest varchar(255),
    path text NOT NULL,
    location varchar(255) NOT NULL,
    size bigint NOT NULL,
    created_ms bigint NOT NULL,
    due_ms bigint NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    fenced_until_ms bigint,
    last_error text
);
CREATE INDEX dredge_tombstone_due ON dredge_tombstone (due_ms, id);
CREATE INDEX dredge_tombstone_digest ON dredge_tombstone (digest);

CREATE TABLE dredge_report_debt (
    id bigserial PRIMARY KEY,
    digest varchar(255) NOT NULL,
    created_ms bigint NOT NULL,
    due_ms bigint NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    last_error text
);
CREATE INDEX dredge_report_debt_due ON dredge_report_debt (due_ms, id);

CREATE TABLE dredge_collection (
    id bigserial PRIMARY KEY,
    stage varchar(16) NOT NULL,
    repository_id integer,
    started_ms bigint NOT NULL,
    finished_ms bigint NOT NULL,
    tags integer NOT NULL DEFAULT 0,
    manifests integer NOT NULL DEFAULT 0,
    blobs integer NOT NULL DEFAULT 0,
    objects integer NOT NULL DEFAULT 0,
    rows integer NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0
);
CREATE INDEX dredge_collection_finished ON dredge_collection (finished_ms);
CREATE INDEX dredge_collection_repository ON dredge_collection (repository_id, finished_ms);

CREATE TABLE dredge_failure (
    repository_id integer PRIMARY KEY,
    failures integer NOT NULL,
    retry_ms bigint NOT NULL,
    last_error text NOT NULL
);

CREATE TABLE dredge_cursor (
    name varchar(64) PRIMARY KEY,
    position bigint NOT NULL,
    moved_ms bigint NOT NULL
);

CREATE TABLE dredge_sighting (
    kind varchar(32) NOT NULL,
    key text NOT NULL,
    first_seen_ms bigint NOT NULL,
    PRIMARY KEY (kind, key)
);
"""

NAMES = (
    "dredge_event",
    "dredge_manifest_candidate",
    "dredge_blob_candidate",
    "dredge_tombstone",
    "dredge_report_debt",
    "dredge_collection",
    "dredge_failure",
    "dredge_cursor",
    "dredge_sighting",
)


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(TABLES)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP TABLE " + ", ".join(NAMES))  # type: ignore[no-untyped-call]
