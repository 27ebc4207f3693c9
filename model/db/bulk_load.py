"""Bulk loading: rows of many tables through COPY, with ids taken from the tables' own sequences."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from model.db.connection import db, execute, fetch, fetch_one, translated

# The columns to load.  The tables are in an order that satisfies foreign keys.
COLUMNS: dict[str, str] = {
    "user": (
        "id,uuid,username,email,verified,organization,robot,invoice_email,invalid_login_attempts,"
        "last_invalid_login,removed_tag_expiration_s,enabled"
    ),
    "repository": "id,namespace_user_id,name,visibility_id,badge_token,kind_id,trust_enabled,state",
    "repositorynotification": "id,uuid,repository_id,event_id,method_id,config_json,event_config_json",
    "imagestorage": "id,uuid,image_size,uncompressed_size,uploading,cas_path,content_checksum",
    "imagestorageplacement": "storage_id,location_id",
    "manifest": (
        "id,repository_id,digest,media_type_id,manifest_bytes,config_media_type,layers_compressed_size,"
        "subject,subject_backfilled,artifact_type,artifact_type_backfilled"
    ),
    "manifestchild": "repository_id,manifest_id,child_manifest_id",
    "manifestblob": "repository_id,manifest_id,blob_id",
    "label": "id,uuid,key,value,media_type_id,source_type_id",
    "manifestlabel": "repository_id,manifest_id,label_id",
    "tag": (
        "id,name,repository_id,manifest_id,lifetime_start_ms,lifetime_end_ms,hidden,reversion,tag_kind_id,"
        "immutable"
    ),
    "manifestsecuritystatus": (
        "manifest_id,repository_id,index_status,error_json,last_indexed,indexer_hash,indexer_version,"
        "metadata_json"
    ),
    "tagpullstatistics": ("repository_id,tag_name,tag_pull_count,last_tag_pull_date,current_manifest_digest"),
    "manifestpullstatistics": ("repository_id,manifest_digest,manifest_pull_count,last_manifest_pull_date"),
    "tagnotificationsuccess": "notification_id,tag_id,method_id",
    "uploadedblob": "repository_id,blob_id,uploaded_at,expires_at",
    "blobupload": ("repository_id,uuid,byte_count,location_id,storage_metadata,chunk_count,created"),
    "quotarepositorysize": "repository_id,size_bytes,backfill_start_ms,backfill_complete",
    "quotanamespacesize": "namespace_user_id,size_bytes,backfill_start_ms,backfill_complete",
}
_LOOKUPS = {
    "mediatype": "name",
    "tagkind": "name",
    "visibility": "name",
    "repositorykind": "name",
    "labelsourcetype": "name",
    "externalnotificationevent": "name",
    "externalnotificationmethod": "name",
}
_FLUSH_ROWS = 200_000
_OTHER_NAMESPACES = """
SELECT count(*) AS namespaces FROM "user" u
WHERE NOT starts_with(u.username, %s) AND EXISTS (SELECT FROM repository r WHERE r.namespace_user_id = u.id)
"""


@dataclass(frozen=True)
class LookupRows:
    """Ids of lookup rows by table and name."""

    ids: dict[tuple[str, str], int]
    location_id: int

    def __getitem__(self, key: tuple[str, str]) -> int:
        return self.ids[key]


def find_lookup_rows(location: str) -> LookupRows:
    """Return every lookup row by name.  Inserts the row of the storage location if it is missing."""
    found = {
        (table, row.name): int(row.id) for table in _LOOKUPS for row in fetch(f"SELECT id, name FROM {table}")
    }
    row = fetch_one("SELECT id FROM imagestoragelocation WHERE name = %s", (location,)) or fetch_one(
        "INSERT INTO imagestoragelocation (name) VALUES (%s) RETURNING id", (location,)
    )
    return LookupRows(found, int(row.id))


def find_empty_layer(digest: str) -> int | None:
    """Return the id of a blob row with that digest, or None; only reads."""
    row = fetch_one("SELECT min(id) AS id FROM imagestorage WHERE content_checksum = %s", (digest,))
    return row.id if row else None


def has_namespace_like(prefix: str) -> bool:
    """Return whether a namespace's name starts with `prefix`."""
    return bool(fetch('SELECT FROM "user" WHERE starts_with(username, %s) LIMIT 1', (prefix,)))


def count_other_namespaces(prefix: str) -> int:
    """Count namespaces with repositories whose names do not start with `prefix`; only reads."""
    row = fetch_one(_OTHER_NAMESPACES, (prefix,))
    return int(row.namespaces)


def spare_foreign_key_checks() -> bool:
    """Skip the triggers of this transaction's inserts.  False if the role may not do so.

    Use it only for rows with valid references: PostgreSQL does not verify them afterwards.
    """
    allowed = fetch_one("SELECT usesuper FROM pg_user WHERE usename = current_user")
    if allowed and allowed.usesuper:
        execute("SET LOCAL session_replication_role = replica")
        return True
    return False


def analyze() -> None:
    """Refresh the planner's statistics of the loaded tables, as autovacuum would within a minute."""
    execute("ANALYZE " + ", ".join(f'"{table}"' for table in COLUMNS))


def take_ids(table: str, block: int = 10_000) -> Iterator[int]:
    """Yield new ids from the table's own sequence without end.  Safe beside other writers."""
    sql = f"SELECT nextval(pg_get_serial_sequence('\"{table}\"', 'id')) AS id FROM generate_series(1, %s)"
    while True:
        yield from (int(row.id) for row in fetch(sql, (block,)))


class Loader:
    """Rows that wait to be copied, in an order that satisfies foreign keys.

    Use it inside one transaction: other sessions see the rows only after the caller's commit.
    """

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in COLUMNS}
        self.written: dict[str, int] = dict.fromkeys(COLUMNS, 0)

    def flush_if_full(self) -> None:
        """Write the rows if enough wait.  Call it when all rows so far refer only to each other."""
        if sum(map(len, self.rows.values())) >= _FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write all rows that wait."""
        for table, rows in self.rows.items():
            if rows:
                copy(table, COLUMNS[table], rows)
                self.written[table] += len(rows)
                rows.clear()


def copy(table: str, columns: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write the rows into a table with one COPY."""
    lines = io.StringIO("\n".join("\t".join(map(_encode, row)) for row in rows) + "\n")
    with translated(), db.cursor() as cursor:
        cursor.copy_expert(f'COPY "{table}" ({columns}) FROM STDIN', lines)


def _encode(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    if value is True:
        return "t"
    return "f" if value is False else str(value)
