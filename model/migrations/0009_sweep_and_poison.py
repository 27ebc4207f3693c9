"""Add counts of unknown objects, the leader of a shared collection, and the text of a parked message.

Workers of the previous version leave the new columns at their defaults.
"""

from peewee import Database
from playhouse.migrate import SchemaMigrator

UP = """
CREATE TABLE dredge_sweep (
    location varchar(255) PRIMARY KEY,
    looked bigint NOT NULL DEFAULT 0,
    unknown_objects bigint NOT NULL DEFAULT 0,
    last_looked bigint,
    last_unknown bigint,
    accepted bigint NOT NULL DEFAULT 0
);
ALTER TABLE dredge_due ADD COLUMN leader_id integer;
CREATE INDEX dredge_due_leader ON dredge_due (leader_id) WHERE leader_id IS NOT NULL;
ALTER TABLE dredge_poison ADD COLUMN data text;
"""

DOWN = """
ALTER TABLE dredge_poison DROP COLUMN data;
ALTER TABLE dredge_due DROP COLUMN leader_id;
DROP TABLE dredge_sweep;
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(UP)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(DOWN)  # type: ignore[no-untyped-call]
