"""Rename the table of orphan marks.

A view has the old name, so that workers of the previous version can run during an upgrade.
"""

from peewee import Database
from playhouse.migrate import SchemaMigrator


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("ALTER TABLE dredge_sighting RENAME TO dredge_orphan")  # type: ignore[no-untyped-call]
    db.execute_sql("CREATE VIEW dredge_sighting AS SELECT * FROM dredge_orphan")  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP VIEW dredge_sighting")  # type: ignore[no-untyped-call]
    db.execute_sql("ALTER TABLE dredge_orphan RENAME TO dredge_sighting")  # type: ignore[no-untyped-call]
