"""Add webhooks and their deliveries, which the transaction that records an event writes."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

TABLES = """
CREATE TABLE dredge_webhook (
    name varchar(64) PRIMARY KEY,
    url text NOT NULL,
    types text NOT NULL,
    created_ms bigint NOT NULL
);

CREATE TABLE dredge_delivery (
    id bigserial PRIMARY KEY,
    webhook varchar(64) NOT NULL,
    event_id varchar(36) NOT NULL,
    type varchar(64) NOT NULL,
    subject text NOT NULL,
    data text NOT NULL,
    created_ms bigint NOT NULL,
    due_ms bigint NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    dead_ms bigint,
    last_error text
);
CREATE INDEX dredge_delivery_due ON dredge_delivery (webhook, due_ms) WHERE dead_ms IS NULL;
CREATE INDEX dredge_delivery_dead ON dredge_delivery (dead_ms) WHERE dead_ms IS NOT NULL;
"""

# A trigger writes the deliveries, because other services, the trigger on tags and workers of the previous
# version record events, too.  SECURITY DEFINER: they need no rights on these tables.
TRIGGER = """
CREATE FUNCTION dredge_owe_deliveries() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $body$
BEGIN
  INSERT INTO dredge_delivery (webhook, event_id, type, subject, data, created_ms, due_ms)
  SELECT w.name, e.event_id, e.type, e.subject, e.data, e.created_ms, e.created_ms
  FROM recorded e JOIN dredge_webhook w ON w.types = '*' OR e.type = ANY(string_to_array(w.types, ' '))
  ORDER BY e.id, w.name;
  RETURN NULL;
END
$body$;

CREATE TRIGGER dredge_owe_deliveries AFTER INSERT ON dredge_event
REFERENCING NEW TABLE AS recorded FOR EACH STATEMENT EXECUTE FUNCTION dredge_owe_deliveries();
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(TABLES)  # type: ignore[no-untyped-call]
    db.execute_sql(TRIGGER)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP TRIGGER dredge_owe_deliveries ON dredge_event")  # type: ignore[no-untyped-call]
    db.execute_sql("DROP FUNCTION dredge_owe_deliveries")  # type: ignore[no-untyped-call]
    db.execute_sql("DROP TABLE dredge_delivery, dredge_webhook")  # type: ignore[no-untyped-call]
