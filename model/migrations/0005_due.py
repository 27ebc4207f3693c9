"""Add one row for each repository that has garbage, will have some, or fails.

A view has the name of the table that this one replaces, so that workers of the previous version can run
during an upgrade.
"""

from peewee import Database
from playhouse.migrate import SchemaMigrator

UP = """
CREATE TABLE dredge_due (
    repository_id integer PRIMARY KEY,
    namespace_id integer NOT NULL DEFAULT 0,
    due_ms bigint NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    next_try_ms bigint NOT NULL DEFAULT 0,
    queued_ms bigint,
    last_error text
);
CREATE INDEX dredge_due_next_try ON dredge_due (next_try_ms, repository_id);
CREATE INDEX dredge_due_unqueued ON dredge_due (next_try_ms, repository_id) WHERE queued_ms IS NULL;
CREATE INDEX dredge_due_queued ON dredge_due (namespace_id, queued_ms) WHERE queued_ms IS NOT NULL;
CREATE INDEX dredge_due_attempted ON dredge_due (next_try_ms) WHERE attempts > 0;
INSERT INTO dredge_due (repository_id, namespace_id, due_ms, attempts, next_try_ms, last_error)
SELECT f.repository_id, coalesce(r.namespace_user_id, 0), f.retry_ms, f.failures, f.retry_ms, f.last_error
FROM dredge_failure f LEFT JOIN repository r ON r.id = f.repository_id;
DROP TABLE dredge_failure;
CREATE VIEW dredge_failure AS
SELECT repository_id, attempts AS failures, next_try_ms AS retry_ms, last_error FROM dredge_due
WHERE last_error IS NOT NULL;
"""

DOWN = """
DROP VIEW dredge_failure;
CREATE TABLE dredge_failure (
    repository_id integer PRIMARY KEY,
    failures integer NOT NULL,
    retry_ms bigint NOT NULL,
    last_error text NOT NULL
);
INSERT INTO dredge_failure SELECT repository_id, attempts, next_try_ms, last_error FROM dredge_due
WHERE last_error IS NOT NULL;
DROP TABLE dredge_due;
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(UP)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(DOWN)  # type: ignore[no-untyped-call]
