"""Give the queues indexes in the order of their claims, also where many rows are due at the same time.

Workers of the previous version run beside: their statements find an index for all they look for, or sort.
"""

from peewee import Database
from playhouse.migrate import SchemaMigrator

UP = """
DROP INDEX dredge_manifest_candidate_due;
CREATE INDEX dredge_manifest_candidate_due ON dredge_manifest_candidate (due_ms, id);

DROP INDEX dredge_delivery_due;
CREATE INDEX dredge_delivery_due ON dredge_delivery (webhook, due_ms, id) WHERE dead_ms IS NULL;

CREATE INDEX dredge_quarantine_location_look ON dredge_quarantine (location, look_ms, id);
DROP INDEX dredge_quarantine_look;

CREATE INDEX dredge_poison_due ON dredge_poison (stage, due_ms);
"""

DOWN = """
DROP INDEX dredge_poison_due;

CREATE INDEX dredge_quarantine_look ON dredge_quarantine (look_ms, id);
DROP INDEX dredge_quarantine_location_look;

DROP INDEX dredge_delivery_due;
CREATE INDEX dredge_delivery_due ON dredge_delivery (webhook, due_ms) WHERE dead_ms IS NULL;

DROP INDEX dredge_manifest_candidate_due;
CREATE INDEX dredge_manifest_candidate_due ON dredge_manifest_candidate (due_ms);
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(UP)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(DOWN)  # type: ignore[no-untyped-call]
