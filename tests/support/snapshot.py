"""Compare snapshots of the database: every test ends with the changes that it expects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.rows import Rows

Key = Any
Table = dict[Key, dict[str, Any]]

# Names in the model for tables, which tests may use as well.
ALIASES = {"blob": "imagestorage", "placement": "imagestorageplacement", "namespace": "user"}

# Rows that are removed with the row that they reference, and that a test need not name.
FOLLOWERS = {
    "manifestblob": {"manifest_id": "manifest"},
    "manifestchild": {"manifest_id": "manifest"},
    "manifestlabel": {"manifest_id": "manifest"},
    "manifestsecuritystatus": {"manifest_id": "manifest"},
    "imagestorageplacement": {"storage_id": "imagestorage"},
    "imagestoragesignature": {"storage_id": "imagestorage"},
    "tagnotificationsuccess": {"tag_id": "tag"},
}


@dataclass
class Changes:
    """Keys by table: `removed`, `added`, and `changed` as {key: {column: (before, after)}}."""

    removed: dict[str, dict[Key, dict[str, Any]]] = field(default_factory=dict)
    added: dict[str, dict[Key, dict[str, Any]]] = field(default_factory=dict)
    changed: dict[str, dict[Key, dict[str, tuple[Any, Any]]]] = field(default_factory=dict)

    def fill(self, before: dict[str, Table], after: dict[str, Table]) -> None:
        """Compare two snapshots."""
        for name in sorted(before.keys() | after.keys()):
            old, new = before.get(name, {}), after.get(name, {})
            _keep(self.removed, name, {key: old[key] for key in old if key not in new})
            _keep(self.added, name, {key: new[key] for key in new if key not in old})
            _keep(
                self.changed,
                name,
                {key: _differences(old[key], new[key]) for key in old if key in new and old[key] != new[key]},
            )

    def __bool__(self) -> bool:
        return bool(self.removed or self.added or self.changed)


def _keep(where: dict[str, Any], name: str, rows: dict[Key, Any]) -> None:
    if rows:
        where[name] = rows


def _differences(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (old[name], new[name]) for name in old if old[name] != new.get(name)}


class Snapshots(Rows):
    """Snapshots of all tables, and the checks of their differences."""

    def snapshot(self) -> dict[str, Table]:
        """Return {table: {primary key: row}} of every table in the database, including Dredge's own."""
        found: dict[str, Table] = {}
        keys: dict[str, list[str]] = {}
        for name, columns in self.rows(_PRIMARY_KEYS):
            found[name] = {}
            if columns:
                keys[name] = columns
        union = " UNION ALL ".join(
            f"SELECT '{name}', jsonb_build_array({', '.join(columns)}), to_jsonb(t) FROM \"{name}\" t"
            for name, columns in keys.items()
        )
        for name, key, row in self.rows(union) if union else []:
            found[name][key[0] if len(key) == 1 else tuple(key)] = row
        return found

    @contextmanager
    def changes(self) -> Iterator[Changes]:
        """Yield the block's changes in all tables: `with world.changes() as changes: …; changes.removed`."""
        found = Changes()
        before = self.snapshot()
        yield found
        found.fill(before, self.snapshot())

    @contextmanager
    def only_removes(
        self, *, may_change: Iterable[str] = (), **rows: int | Iterable[int]
    ) -> Iterator[Changes]:
        """Check that the block removes exactly these rows of the registry's tables, and nothing else changes.

        Rows that depend on a removed one (`manifestblob` on a manifest, a placement on its blob, …) need not
        be named.  Dredge's own tables and those in `may_change` are not checked.
        """
        with self.changes() as found:
            yield found
        wanted = {ALIASES.get(name, name): _ids(value) for name, value in rows.items()}
        ignored = {ALIASES.get(name, name) for name in may_change}
        removed = {
            name: {
                key for key, row in gone.items() if name in wanted or not _follows(name, row, found.removed)
            }
            for name, gone in found.removed.items()
            if not _own(name) and name not in ignored
        }
        assert {name: ids for name, ids in removed.items() if ids} == {
            name: ids for name, ids in wanted.items() if ids
        }, "other rows were removed than the test says"
        for what, kept in (("added", found.added), ("changed", found.changed)):
            other = {name: kept[name] for name in kept if not _own(name) and name not in ignored}
            assert not other, f"rows were {what}: {other}"

    def unchanged(self) -> Any:
        """Check that the block changes nothing in the registry's tables."""
        return self.only_removes()


def _own(table: str) -> bool:
    return table.startswith("dredge_")


def _ids(value: int | Iterable[int]) -> set[int]:
    return {int(value)} if isinstance(value, int) else {int(row) for row in value}


def _follows(table: str, row: dict[str, Any], removed: dict[str, dict[Key, Any]]) -> bool:
    return any(row[column] in removed.get(to, {}) for column, to in FOLLOWERS.get(table, {}).items())


# The columns of each table's primary key.  None for a table without pages, because that has no rows: most are
# such, and it takes long to plan a statement on all tables.
_PRIMARY_KEYS = """
SELECT c.relname, CASE WHEN pg_relation_size(c.oid) > 0 THEN ARRAY(
    SELECT quote_ident(a.attname)
    FROM pg_index i CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
    WHERE i.indrelid = c.oid AND i.indisprimary ORDER BY k.n) END
FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace
"""
