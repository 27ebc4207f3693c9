"""What a role must be granted: deploy/roles.sql grants this, and `dredge check` names what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model.db.connection import fetch, fetch_one
from model.db.schema import HISTORY_TABLE
from model.db.tables import OWN_TABLES, REGISTRY_TABLES
from model.purge.rules import NULL, PURGE, RULES

# right: tables
Rights = Mapping[str, frozenset[str]]

OWN = frozenset(model._meta.table_name for model in OWN_TABLES)
_KNOWN = frozenset(model._meta.table_name for model in REGISTRY_TABLES) | OWN | {HISTORY_TABLE}


def _ruled(action: str) -> frozenset[str]:
    """Tables whose rows a purge deletes, or whose reference it sets to null."""
    rules = (rule for by_column in RULES.values() for rule in by_column.items())
    return frozenset(column.partition(".")[0] for column, taken in rules if taken == action)


PURGED, UNLINKED = _ruled(PURGE), _ruled(NULL)
# No column of these changes: PostgreSQL asks for UPDATE where a row is locked.
LOCKED = frozenset({"label", "manifest"})

_DELETED = frozenset(
    [
        "blobupload",
        "deletednamespace",
        "deletedrepository",
        "imagestorage",
        "imagestorageplacement",
        "imagestoragesignature",
        "label",
        "manifest",
        "manifestblob",
        "manifestchild",
        "manifestlabel",
        "manifestpullstatistics",
        "manifestsecuritystatus",
        "queueitem",
        "repository",
        "tag",
        "tagnotificationsuccess",
        "tagpullstatistics",
        "uploadedblob",
        "user",
    ]
)
_UPDATED = frozenset(
    [
        "autoprunetaskstatus",
        "blobupload",
        "deletednamespace",
        "deletedrepository",
        "imagestorage",
        "queueitem",
        "quotanamespacesize",
        "quotarepositorysize",
        "repository",
        "tag",
        "uploadedblob",
        "user",
    ]
)
_INSERTED = frozenset(
    [
        "blobupload",
        "deletednamespace",
        "deletedrepository",
        "imagestorage",
        "imagestorageplacement",
        "label",
        "manifest",
        "manifestblob",
        "manifestchild",
        "manifestlabel",
        "queueitem",
        "repository",
        "tag",
        "uploadedblob",
    ]
)

READER: Rights = {"SELECT": _KNOWN}
COLLECTOR: Rights = {
    "SELECT": _KNOWN | _DELETED | _UPDATED | PURGED | UNLINKED,
    "INSERT": _INSERTED | OWN,
    "UPDATE": _UPDATED | LOCKED | UNLINKED | OWN,
    "DELETE": _DELETED | PURGED | OWN,
}

# A right on some of the columns counts: no role reads all of Quay's.
_HELD = """
SELECT n.privilege, n.name, CASE n.privilege
    WHEN 'DELETE' THEN has_table_privilege(c.oid, 'DELETE')
    ELSE has_any_column_privilege(c.oid, n.privilege) END AS held
FROM unnest(%(rights)s::text[], %(tables)s::text[]) n (privilege, name)
JOIN pg_class c ON c.relname = n.name AND c.relnamespace = quote_ident(current_schema())::regnamespace
ORDER BY n.privilege, n.name
"""

# Sequences that a column's default takes its value from.
_SEQUENCES = """
SELECT DISTINCT c.relname AS name FROM pg_class s
JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
JOIN pg_class c ON c.oid = d.refobjid AND c.relname = ANY(%(tables)s)
WHERE s.relnamespace = quote_ident(current_schema())::regnamespace
  AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') END
ORDER BY 1
"""


@dataclass(frozen=True)
class Granted:
    """What the current role may do: it collects, or may write nothing at all; `missing` tables by right."""

    role: str
    collects: bool
    missing: Mapping[str, tuple[str, ...]]

    @property
    def problems(self) -> list[str]:
        """A sentence for each right that is missing."""
        return [
            f"The role {self.role} lacks {right} on {', '.join(tables)}: deploy/roles.sql grants it"
            for right, tables in self.missing.items()
        ]


def read_granted() -> Granted:
    """Compare what the current role holds with what a collector needs, or a reader if it may write nothing.

    Tables that are not there are not missed.  Two statements on the catalogue.
    """
    asked = [(right, table) for right, tables in COLLECTOR.items() for table in tables]
    rights, tables = zip(*asked, strict=True)
    rows = fetch(_HELD, {"rights": list(rights), "tables": list(tables)})
    collects = any(row.held for row in rows if row.privilege != "SELECT")
    needed = COLLECTOR if collects else READER
    missing: dict[str, tuple[str, ...]] = {}
    for row in rows:
        if not row.held and row.name in needed.get(row.privilege, ()):
            missing[row.privilege] = (*missing.get(row.privilege, ()), row.name)
    without = fetch(_SEQUENCES, {"tables": sorted(needed.get("INSERT", ()))})
    if without:
        missing["USAGE of sequences"] = tuple(row.name for row in without)
    return Granted(fetch_one("SELECT current_user AS name").name, collects, missing)
