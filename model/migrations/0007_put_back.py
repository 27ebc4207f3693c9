"""Keep the row of an object that was put back for as long as a late request may move the object again."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

# It is unknown how the store answered the moves of older rows, and workers of the previous version do not
# record it.
UP = """
ALTER TABLE dredge_quarantine
    ADD COLUMN unanswered boolean NOT NULL DEFAULT true,
    ADD COLUMN put_back_ms bigint;
"""

DOWN = """
ALTER TABLE dredge_quarantine DROP COLUMN unanswered, DROP COLUMN put_back_ms;
"""


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(UP)  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql(DOWN)  # type: ignore[no-untyped-call]
