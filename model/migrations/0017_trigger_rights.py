"""Take the right to execute the webhooks' trigger function from PUBLIC.

It runs with our rights.  A role that may execute it could attach it to a table of its own, and so write
deliveries to the webhooks.  Triggers that exist fire without that right.
"""

from peewee import Database
from playhouse.migrate import SchemaMigrator


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("REVOKE ALL ON FUNCTION dredge_owe_deliveries() FROM PUBLIC")  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("GRANT EXECUTE ON FUNCTION dredge_owe_deliveries() TO PUBLIC")  # type: ignore[no-untyped-call]
