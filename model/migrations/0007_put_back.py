"""What was put back is remembered for as long as a late request may move it again."""

from peewee import Database
from playhouse.migrate import SchemaMigrator

# Nobody knows how the moves of older rows were answered, nor does a worker of the previous version tell.
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
