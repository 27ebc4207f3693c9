"""Marks of suspected orphans under their new name.

The view under the old name lets workers of the previous version run beside new ones during an upgrade.
"""

from peewee import Database
from playhouse.migrate import SchemaMigrator


def up(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("ALTER TABLE dredge_sighting RENAME TO dredge_orphan")  # type: ignore[no-untyped-call]
    db.execute_sql("CREATE VIEW dredge_sighting AS SELECT * FROM dredge_orphan")  # type: ignore[no-untyped-call]


def down(migrator: SchemaMigrator, db: Database) -> None:
    db.execute_sql("DROP VIEW dredge_sighting")  # type: ignore[no-untyped-call]
    db.execute_sql("ALTER TABLE dredge_orphan RENAME TO dredge_sighting")  # type: ignore[no-untyped-call]
